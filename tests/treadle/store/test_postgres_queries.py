"""The named statements of the PostgreSQL store: each is used, each is valid, and the hot ones use their index."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests import postgres

import treadle.store
from treadle.store import queries, rows
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import make_job

STATEMENTS = queries.load("postgres")
SOURCES = Path(treadle.store.__file__).parent
FINISHED, LIVE = 30_000, 300
LISTS = {"ids": ["a", "b"], "worker_ids": ["a"], "names": ["a"], "concurrency_keys": ["a"]}
JSON = dict.fromkeys(
    ["jobs", "claims", "endings", "attempts", "messages", "reports", "sizes", "schedules", "keys"], "[]"
)
VALUES: dict[str, Any] = {
    **rows.job_values(make_job()), **LISTS, **JSON, "labels": "{}", "starts": True, "limit": 10, "near": 10, "far": 10,
    "after_key": "", "now": 1, "pool": "processes",
    "of_task": "t", "unique_key": "k", "queue": "queue 3", "worker_id": "w", "id": "a", "state": None, "task": None, "after": 0,
    "after_id": "", "text": "x",
    "succeeded_before": 1, "failed_before": 1, "name": "x", "value": "x", "number": "1", "failure": None,
    "host": "h", "pid": 1, "queues": "[]", "started_at": 1, "last_seen_at": 1, "lease_until": 1,
    "seen_at": 1, "to": 2, "job_id": None,
}  # fmt: skip

FILL = """
INSERT INTO treadle_job (id, kind, task, queue, pool, priority, state, run_at, max_attempts, max_crashes, token,
    worker_id, enqueued_at, started_at, finished_at, group_id, part, size, alias, labels, headers, payload, unique_key,
    concurrency_key)
SELECT state || n, 'part', 't', 'queue ' || n %% 5, 'processes', 0, state, n, 1, 3, 1, CASE state WHEN 'running' THEN 'w' || n END,
    n, n, CASE state WHEN 'succeeded' THEN n END, 'g' || n / 10, n %% 10, 1, 'default', '{}'::jsonb, '{}', '{}',
    CASE n %% 3 WHEN 0 THEN state || n END,
    CASE WHEN n %% 2 = 0 THEN 'key ' || CASE state WHEN 'running' THEN n ELSE n %% 20 END END
FROM unnest(ARRAY['succeeded', 'ready', 'running', 'scheduled']) AS state,
     generate_series(1, CASE state WHEN 'succeeded' THEN %(finished)s ELSE %(live)s END) AS n
"""


@pytest.fixture(scope="module")
def connection(postgres_server: str) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """To tables with many finished jobs and some of each other kind."""
    with postgres.a_schema(postgres_server) as url:
        store = PostgresStore(parse(url))
        store.prepare()
        store.close()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL, {"finished": FINISHED, "live": LIVE})
            connection.execute("ANALYZE treadle_job")
            yield connection


def plan(connection: "psycopg.Connection[tuple[Any, ...]]", name: str) -> str:
    """What PostgreSQL does for a statement, line by line."""
    lines = connection.execute(f"EXPLAIN {STATEMENTS[name]}", VALUES).fetchall()
    return "\n".join(line for (line,) in lines)


@pytest.mark.parametrize("name", sorted(set(STATEMENTS) - {"copy_jobs", "lock_schema"}))
def test_every_statement_is_valid(connection: "psycopg.Connection[tuple[Any, ...]]", name: str) -> None:
    """PostgreSQL can plan it against the migrated tables, and no fragment is left open."""
    assert "{" not in STATEMENTS[name]
    assert set(re.findall(r"%\((\w+)\)s", STATEMENTS[name])) <= VALUES.keys()
    plan(connection, name)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_is_used(name: str) -> None:
    """A statement that nobody runs is deleted."""
    name = name.removesuffix("_and_tell").removesuffix("_in_queue")
    assert any(f'"{name}"' in file.read_text() for file in [*SOURCES.glob("postgres*.py"), SOURCES / "keys.py"])


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_has_a_line_of_purpose(name: str) -> None:
    """The file says what each is for."""
    text = (SOURCES / "sql" / "postgres" / "queries.sql").read_text()
    assert re.search(rf"^-- name: {name}\n-- [A-Z]", text, re.MULTILINE)


def test_jobs_are_copied_column_by_column() -> None:
    """The order of the columns of COPY is that of the values."""
    columns = re.search(r"\((.*?)\)", STATEMENTS["copy_jobs"], re.DOTALL)
    assert columns is not None
    assert [name.strip() for name in columns[1].split(",")] == list(rows.job_values(make_job()))


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim", "treadle_job_ready"),
        ("claim_in_queue", "treadle_job_ready_in_queue"),
        ("is_work_ready", "treadle_job_ready"),
        ("is_work_ready", "treadle_job_urgent_with_key"),
        ("get_urgent_without_key", "treadle_job_ready"),
        ("get_urgent_without_key_in_queue", "treadle_job_ready_in_queue"),
        ("get_urgent_with_key", "treadle_job_urgent_with_key"),
        ("get_urgent_with_key", "treadle_job_exclusive"),
        ("get_urgent_with_key_in_queue", "treadle_job_urgent_with_key_in_queue"),
        ("get_first_of_keys", "treadle_job_ready_with_key"),
        ("get_first_of_keys_in_queue", "treadle_job_ready_with_key_in_queue"),
        ("claim_chosen", "treadle_job_pkey"),
        ("claim_chosen", "treadle_job_exclusive"),
        ("get_shares", "treadle_job_ready_in_queue"),
        ("get_open_queues", "treadle_job_ready_in_queue"),
        ("get_open_queues", "treadle_job_urgent_with_key_in_queue"),
        ("promote", "treadle_job_scheduled"),
        ("is_promotion_due", "treadle_job_scheduled"),
        ("lock_running_of", "treadle_job_running"),
        ("deregister_workers", "treadle_job_running"),
        ("get_complete_wholes", "treadle_job_group_open"),
        ("get_bad_parts", "treadle_job_group"),
        ("measure_items", "treadle_job_group"),
        ("get_part_results", "treadle_job_group"),
        ("get_parts", "treadle_job_group"),
        ("get_family", "treadle_job_group_open"),
        ("get_cancel_requests", "treadle_job_to_cancel"),
        ("get_unique", "treadle_job_unique"),
        ("insert_unique_jobs", "treadle_job_unique"),
        ("is_any_result_old", "treadle_job_result_expiring"),
        ("forget_results", "treadle_job_result_expiring"),
        ("forget_part_results", "treadle_job_group"),
        ("is_any_expired", "treadle_job_expiring"),
        ("get_expired", "treadle_job_expiring"),
        ("redrive", "treadle_job_group"),
        ("redrive", "treadle_job_unique"),
        ("lock_parts", "treadle_job_group"),
        ("get_old", "treadle_job_finished"),
    ],
)
def test_a_hot_statement_uses_its_partial_index(
    connection: "psycopg.Connection[tuple[Any, ...]]", name: str, index: str
) -> None:
    """So it costs what the backlog costs, whatever is kept of finished jobs."""
    assert re.search(rf"(using|on|Conflict Arbiter Indexes:) {index}\b", plan(connection, name)), plan(connection, name)


@pytest.mark.parametrize("name", ["claim", "claim_in_queue"])
def test_the_order_of_a_claim_comes_from_the_index(
    connection: "psycopg.Connection[tuple[Any, ...]]", name: str
) -> None:
    """Nothing is sorted to find the first few: what is below the limit is one scan."""
    urgent = plan(connection, name).partition("CTE urgent")[2].partition("CTE")[0]
    assert "Limit" in urgent
    assert "Sort" not in urgent


@pytest.mark.parametrize("name", [
    "finish", "release", "mark_started", "lock_tellers", "cancel", "lock_to_be_cancelled", "get_jobs", "lock_wholes", "redrive", "expire", "lock_to_prune", "prune",
    "forget", "get_to_forget", "lock_before_wholes", "get_labelled",
])  # fmt: skip
def test_a_job_is_found_by_its_key(connection: "psycopg.Connection[tuple[Any, ...]]", name: str) -> None:
    """Never by a look at every job, nor at all those that have run since the last vacuum."""
    assert "treadle_job_pkey" in plan(connection, name)
    assert "Seq Scan on treadle_job" not in plan(connection, name)
    assert "treadle_job_running" not in plan(connection, name)
