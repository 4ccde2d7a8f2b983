"""Numbered migrations."""

import re
import sqlite3

import pytest

from treadle.errors import SchemaMissing, SchemaTooNew
from treadle.store import migrate
from treadle.store.sqlite import apply

GOLDEN = """
treadle_attempt: job_id token number worker_id started_at ended_at outcome error_class error_message error_traceback
treadle_job: id kind task queue pool priority state run_at attempt max_attempts crashes max_crashes token worker_id \
enqueued_at started_at finished_at group_id part size alias labels headers payload result failure version \
timeout_s memory_mb cores cancel_requested_at unique_key concurrency_key expires_at result_ttl redriven_at
treadle_message: job_id number sent_at body
treadle_meta: name value
treadle_paused_queue: name paused_at
treadle_progress: job_id done total message version
treadle_schedule: name cron timezone task seen_at last_job_id
treadle_worker: id host pid kind queues started_at last_seen_at lease_until
"""


@pytest.fixture
def migrated() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in migrate.migrations("sqlite"):
        apply(connection, migration)
    return connection


def test_migrations_are_numbered_from_one() -> None:
    """Without a gap, in the order of their names."""
    numbers = [migration.number for migration in migrate.migrations("sqlite")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert migrate.code_version("sqlite") == numbers[-1]


def test_the_tables_are_those_that_code_expects(migrated: sqlite3.Connection) -> None:
    """The migrated schema, told column by column."""
    tables = migrated.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    lines = []
    for (table,) in tables:
        columns = migrated.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
        lines.append(f"{table}: {' '.join(name for (name,) in columns)}")
    assert "\n".join(lines) == GOLDEN.strip()


def test_every_table_and_index_is_ours_by_name(migrated: sqlite3.Connection) -> None:
    """They may stand in a user's database."""
    names = migrated.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    assert all(re.match("treadle_", name) for (name,) in names)


def test_every_table_is_strict(migrated: sqlite3.Connection) -> None:
    """A text in a number's column is refused."""
    rows = migrated.execute("SELECT name, strict FROM pragma_table_list WHERE name LIKE 'treadle_%'").fetchall()
    assert {name for name, strict in rows if not strict} == set()


def test_a_store_without_tables_is_told() -> None:
    """The message names the store."""
    with pytest.raises(SchemaMissing, match=r"^here has no tables of Treadle yet"):
        migrate.check_version("sqlite", None, 1, "here")


def test_an_older_schema_is_told() -> None:
    """With both versions and the next step."""
    known = migrate.code_version("sqlite")
    with pytest.raises(SchemaMissing, match=f"^here has schema 0, and this Treadle needs {known}: run `treadle"):
        migrate.check_version("sqlite", 0, 1, "here")


def test_a_newer_schema_is_refused_only_where_it_says_so() -> None:
    """`min_code_version` decides, not the version itself."""
    known = migrate.code_version("sqlite")
    migrate.check_version("sqlite", known + 5, known, "here")
    with pytest.raises(SchemaTooNew, match=f"^here was migrated to schema {known + 5} by a newer Treadle"):
        migrate.check_version("sqlite", known + 5, known + 1, "here")
