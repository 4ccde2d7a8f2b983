"""The named statements: each is used, each is valid, and the hot ones use their index."""

import re
import sqlite3
from pathlib import Path

import pytest

import treadle.store
from treadle.store import migrate, queries
from treadle.store.queries import Queries, by_position
from treadle.store.sqlite import apply

STATEMENTS = queries.load("sqlite")
SOURCES = Path(treadle.store.__file__).parent


FINISHED, LIVE = 20_000, 200
FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO treadle_job (id, kind, task, queue, pool, priority, state, run_at, attempt, max_attempts, crashes,
    max_crashes, token, worker_id, enqueued_at, finished_at, group_id, part, size, alias, labels, headers, payload,
    version, cancel_requested_at, unique_key, concurrency_key)
SELECT :state || n, 'part', 't', 'queue ' || (n % 5), 'processes', 0, :state, n, 1, 1, 0, 3, 1,
    CASE :state WHEN 'running' THEN 'w' || (n % 4) END, n, CASE :state WHEN 'succeeded' THEN n END,
    'g' || (n / 1000), n % 10, 1, 'default', '{}', '{}', '{}', 1,
    CASE WHEN :state = 'running' AND n % 50 = 0 THEN n END, CASE n % 3 WHEN 0 THEN :state || n END,
    CASE WHEN n % 2 = 0 THEN 'key ' || CASE :state WHEN 'running' THEN n ELSE n % 20 END END FROM numbers
"""


@pytest.fixture(scope="module", params=["empty", "many finished jobs"])
def connection(request: pytest.FixtureRequest) -> sqlite3.Connection:
    """To new tables, and to full ones of which somebody has had ANALYZE keep statistics."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in migrate.migrations("sqlite"):
        apply(connection, migration)
    if request.param == "many finished jobs":
        for state in ("succeeded", "ready", "running", "scheduled"):
            connection.execute(FILL, {"state": state, "count": FINISHED if state == "succeeded" else LIVE})
        connection.execute("ANALYZE")
    return connection


def plan(connection: sqlite3.Connection, name: str) -> str:
    """What SQLite does for a statement, line by line."""
    rows = connection.execute(f"EXPLAIN QUERY PLAN {STATEMENTS[name]}", _values(name)).fetchall()
    return "\n".join(row[3] for row in rows)


def _values(name: str) -> dict[str, object]:
    return dict.fromkeys(re.findall(r":(\w+)", STATEMENTS[name]), 1)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_is_valid(connection: sqlite3.Connection, name: str) -> None:
    """SQLite can prepare it against the migrated tables, and no fragment is left open."""
    assert "{" not in STATEMENTS[name]
    connection.execute(f"EXPLAIN {STATEMENTS[name]}", _values(name)).fetchall()


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_is_used(name: str) -> None:
    """A statement that nobody runs is deleted."""
    name = name.removesuffix("_in_queue")
    assert any(f'"{name}"' in file.read_text() for file in SOURCES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_has_a_line_of_purpose(name: str) -> None:
    """The file says what each is for."""
    text = (SOURCES / "sql" / "sqlite" / "queries.sql").read_text()
    assert re.search(rf"^-- name: {name}\n-- [A-Z]", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim", "treadle_job_ready (pool=?)"),
        ("claim_in_queue", "treadle_job_ready_in_queue (queue=? AND pool=?)"),
        ("is_work_ready", "treadle_job_ready (pool=?)"),
        ("is_work_ready", "treadle_job_ready_with_key (pool=? AND concurrency_key>?)"),
        ("get_urgent_without_key", "treadle_job_ready (pool=?)"),
        ("get_urgent_without_key_in_queue", "treadle_job_ready_in_queue (queue=? AND pool=?)"),
        ("get_urgent_with_key", "treadle_job_urgent_with_key (pool=?)"),
        ("get_urgent_with_key", "treadle_job_exclusive (concurrency_key=?)"),
        ("get_urgent_with_key_in_queue", "treadle_job_urgent_with_key_in_queue (queue=? AND pool=?)"),
        ("get_first_of_keys", "treadle_job_ready_with_key (pool=? AND concurrency_key>?)"),
        ("get_first_of_keys", "treadle_job_ready_with_key (pool=? AND concurrency_key=?)"),
        ("get_first_of_keys", "treadle_job_exclusive (concurrency_key=?)"),
        (
            "get_first_of_keys_in_queue",
            "treadle_job_ready_with_key_in_queue (queue=? AND pool=? AND concurrency_key>?)",
        ),
        (
            "get_first_of_keys_in_queue",
            "treadle_job_ready_with_key_in_queue (queue=? AND pool=? AND concurrency_key=?)",
        ),
        ("get_shares", "treadle_job_ready_in_queue (queue>?)"),
        ("get_shares", "treadle_job_ready_in_queue (queue=? AND pool=?)"),
        ("get_open_queues", "treadle_job_ready_in_queue (queue>?)"),
        ("get_open_queues", "treadle_job_ready_with_key_in_queue (queue>?)"),
        ("promote", "treadle_job_scheduled (run_at<?)"),
        ("is_promotion_due", "treadle_job_scheduled (run_at<?)"),
        ("get_running_of", "treadle_job_running (worker_id=?)"),
        ("has_open_parts", "treadle_job_group_open (group_id=?)"),
        ("get_bad_parts", "treadle_job_group (group_id=?)"),
        ("measure_items", "treadle_job_group (group_id=?)"),
        ("get_part_results", "treadle_job_group (group_id=?)"),
        ("get_parts", "treadle_job_group (group_id=?)"),
        ("cancel_parts", "treadle_job_group"),
        ("request_cancel_of_parts", "treadle_job_group"),
        ("get_cancel_requests", "treadle_job_to_cancel (worker_id=?)"),
        ("get_unique", "treadle_job_unique (task=? AND unique_key=?)"),
        ("is_any_result_old", "treadle_job_result_expiring (<expr><?)"),
        ("forget_results", "treadle_job_result_expiring (<expr><?)"),
        ("forget_part_results", "treadle_job_group (group_id=?)"),
        ("is_any_expired", "treadle_job_expiring (expires_at<?)"),
        ("get_expired", "treadle_job_expiring (expires_at<?)"),
        ("redrive", "treadle_job_group (group_id=?)"),
        ("redrive", "treadle_job_unique (task=? AND unique_key=?)"),
        ("prune", "treadle_job_finished (finished_at>? AND finished_at<?)"),
    ],
)
def test_a_hot_statement_uses_its_partial_index(connection: sqlite3.Connection, name: str, index: str) -> None:
    """So it costs what the backlog costs, whatever is kept of finished jobs."""
    assert f"INDEX {index}" in plan(connection, name)


@pytest.mark.parametrize("name", [
    "claim", "claim_in_queue", "prune", "get_urgent_without_key", "get_urgent_without_key_in_queue",
    "get_urgent_with_key", "get_urgent_with_key_in_queue",
])  # fmt: skip
def test_the_order_comes_from_the_index(connection: sqlite3.Connection, name: str) -> None:
    """Nothing is sorted to find the first few."""
    assert "TEMP B-TREE" not in plan(connection, name)


@pytest.mark.parametrize("name", [
    "finish", "release", "cancel_instead", "mark_started", "cancel", "request_cancel", "get_to_be_cancelled",
    "get_jobs", "report_progress", "redrive", "redrive_parts", "restart_progress", "expire",
    "get_labelled", "get_to_forget", "forget", "forget_errors", "forget_progress", "forget_messages",
    "claim_chosen",
])  # fmt: skip
def test_one_job_is_found_by_its_key(connection: sqlite3.Connection, name: str) -> None:
    """Never by a look at every job."""
    assert "SCAN treadle_job" not in plan(connection, name)


@pytest.mark.parametrize("name", [
    "claim", "claim_in_queue", "get_urgent_without_key_in_queue", "get_urgent_with_key_in_queue",
    "get_first_of_keys_in_queue",
])  # fmt: skip
def test_who_may_claim_nothing_reads_nothing(name: str) -> None:
    """A worker that is not known, and one of a paused queue: however many jobs wait there."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in migrate.migrations("sqlite"):
        apply(connection, migration)
    connection.execute(FILL, {"state": "ready", "count": FINISHED})
    connection.execute("INSERT INTO treadle_paused_queue VALUES ('queue 1', 1)")
    steps: list[None] = []
    connection.set_progress_handler(lambda: steps.append(None), 1000)
    values = {**_values(name), "worker_id": "nobody", "queue": "queue 1", "pool": "processes"}
    assert connection.execute(STATEMENTS[name], values).fetchall() == []
    assert len(steps) <= 1


@pytest.mark.parametrize("name", ["claim", "claim_in_queue"])
def test_a_claim_is_guarded_where_the_queue_was_paused_after_the_look(name: str) -> None:
    """The look before it sees a moment ago."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in migrate.migrations("sqlite"):
        apply(connection, migration)
    connection.execute(FILL, {"state": "ready", "count": 1})
    connection.execute("INSERT INTO treadle_worker VALUES ('w', 'h', 1, 'process', '[]', 1, 1, 1)")
    values = {**_values(name), "worker_id": "w", "queue": "queue 1", "pool": "processes"}
    connection.execute("INSERT INTO treadle_paused_queue VALUES ('queue 1', 1)")
    assert connection.execute(STATEMENTS[name], values).fetchall() == []
    connection.execute("DELETE FROM treadle_paused_queue")
    assert len(connection.execute(STATEMENTS[name], values).fetchall()) == 1


def test_fragments_are_put_in_their_places() -> None:
    """`{name}` in a statement is the text of that fragment."""
    made = Queries("-- fragment: columns\n-- What.\na, b\n-- name: get\n-- Get it.\nSELECT {columns} FROM t;\n")
    assert made["get"] == "SELECT a, b FROM t"
    assert list(made) == ["get"]


def test_values_are_given_by_position() -> None:
    """In the order of the statement, where a name may stand twice."""
    text, values = by_position("UPDATE t SET a = :a, b = :b + :a")
    assert text == "UPDATE t SET a = ?, b = ? + ?"
    assert values({"b": 2, "a": 1, "c": 3}) == (1, 2, 1)


def test_a_name_is_given_once() -> None:
    """The second one would hide the first."""
    with pytest.raises(ValueError, match="the name 'get' is there twice"):
        Queries("-- name: get\nSELECT 1;\n-- name: get\nSELECT 2;\n")


def test_an_unknown_name_is_a_key_error() -> None:
    """At the first call of a test."""
    with pytest.raises(KeyError):
        STATEMENTS["no_such_statement"]
