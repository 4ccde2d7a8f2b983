"""The store on a caller's connection to a SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from treadle.errors import CannotJoin, SchemaMissing, StoreError, StoreLocked
from treadle.store.contract import Store
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle.store.sqlite_joined import JoinedSqlite
from treadle.testing.store_contract import StoreContract, found, make_job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(SqliteFile(tmp_path / "jobs.sqlite3"))
    store.prepare()
    with store.transaction(), store.file.writing() as connection:
        connection.execute("CREATE TABLE own (name TEXT)")
    yield store
    store.close()


@pytest.fixture
def raw(store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """The caller's connection, as the driver makes it."""
    with closing(sqlite3.connect(store.file.path, timeout=0.1)) as connection:
        yield connection


class TestJoinedSqlite(StoreContract):
    """The job verbs, each in a transaction that is begun for it and left open."""

    # Nobody prunes on a caller's connection, where foreign keys are off unless he has turned them on.
    test_what_hangs_on_a_pruned_job_goes_with_it = None
    # A connection of the driver's belongs to one thread, and to one transaction.
    test_threads_that_claim_at_once_get_each_job_once = None
    test_threads_that_send_one_key_at_once_get_one_job = None
    test_threads_that_claim_at_once_run_one_of_each_key = None
    test_claimers_at_once_beside_a_paused_queue_get_each_job_once = None
    test_of_all_that_move_a_schedule_at_once_one_sends = None
    # Nobody waits for a change inside of a transaction.
    test_a_waiter_wakes_when_something_changed = None
    test_a_resume_wakes_who_waits = None
    test_a_change_before_the_wait_is_not_missed = None

    @pytest.fixture(autouse=True)
    def _connection(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def make_store(self) -> Store:
        return JoinedSqlite(self.raw)


class TestJoinedSqliteInATransaction(TestJoinedSqlite):
    """The same in a transaction that the caller has begun, with rows and texts of kinds that we do not use."""

    @pytest.fixture(autouse=True)
    def _transaction(self, _connection: None) -> None:
        self.raw.isolation_level = None
        self.raw.row_factory = lambda cursor, row: {"names": len(row)}
        self.raw.text_factory = bytes
        self.raw.execute("BEGIN IMMEDIATE")


def owned(connection: sqlite3.Connection) -> list[Any]:
    return connection.execute("SELECT name FROM own").fetchall()


def test_rows_and_jobs_are_committed_together(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """Nobody sees a job before the caller's commit."""
    raw.execute("INSERT INTO own VALUES ('a')")
    JoinedSqlite(raw).enqueue([make_job()])
    assert found(store) == []
    raw.commit()
    assert (len(found(store)), owned(raw)) == (1, [("a",)])


def test_a_rollback_takes_the_jobs_along(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """Also where the jobs came first, and their transaction was begun for them."""
    JoinedSqlite(raw).enqueue([make_job()])
    raw.execute("INSERT INTO own VALUES ('a')")
    raw.rollback()
    assert (found(store), owned(raw)) == ([], [])


def test_what_fails_leaves_the_callers_transaction_as_it_was(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """What the caller has written stays, and nothing of the list of jobs does."""
    raw.execute("INSERT INTO own VALUES ('a')")
    with pytest.raises(StoreError):
        JoinedSqlite(raw).enqueue([make_job(), make_job(priority=101)])
    raw.commit()
    assert (found(store), owned(raw)) == ([], [("a",)])


def test_a_transaction_that_was_begun_for_what_failed_is_ended(raw: sqlite3.Connection) -> None:
    """The caller has written nothing, so nothing stays open for it."""
    with pytest.raises(StoreError):
        JoinedSqlite(raw).enqueue([make_job(priority=101)])
    assert not raw.in_transaction


def test_a_connection_that_commits_by_itself_has_nothing_to_join(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """The job could not be gone after a rollback, so it is not sent."""
    raw.isolation_level = None
    with pytest.raises(CannotJoin, match=r"connection to .*jobs.sqlite3 commits each statement by itself.*begin one"):
        JoinedSqlite(raw).enqueue([make_job()])
    assert found(store) == []


@pytest.mark.skipif(not hasattr(sqlite3.Connection, "autocommit"), reason="it came with Python 3.12")
@pytest.mark.parametrize(("autocommit", "joins"), [(True, False), (False, True)])
def test_the_newer_way_to_say_autocommit_is_understood(store: SqliteStore, autocommit: bool, joins: bool) -> None:
    """True commits each statement, whatever isolation_level says; with False there always is a transaction."""
    with closing(sqlite3.connect(store.file.path, autocommit=autocommit)) as connection:  # type: ignore[call-overload]
        if not joins:
            with pytest.raises(CannotJoin):
                JoinedSqlite(connection).enqueue([make_job()])
            return
        JoinedSqlite(connection).enqueue([make_job()])
        connection.commit()
    assert len(found(store)) == 1


def test_a_transaction_that_began_with_a_read_is_told_how_to_begin(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """Another connection has written since, so this one never can."""
    raw.isolation_level = None
    raw.execute("BEGIN")
    owned(raw)
    store.enqueue([make_job()])
    with pytest.raises(StoreLocked, match=r"begin it with BEGIN IMMEDIATE .*SQLAlchemy: connect_args="):
        JoinedSqlite(raw).enqueue([make_job()])


def test_a_lock_of_the_callers_own_is_no_hindrance(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """The store may be opened while the caller holds SQLite's lock, and somebody else our own."""
    raw.execute("INSERT INTO own VALUES ('a')")
    with store.file.writer_lock():
        other = SqliteStore(SqliteFile(store.file.path))
        other.prepare()
        JoinedSqlite(raw).enqueue([make_job()])
        assert other.secret() == JoinedSqlite(raw).secret() != ""
        other.close()


def test_a_file_without_tables_is_told_what_to_do(tmp_path: Path) -> None:
    """It may be the application's own, and the jobs elsewhere."""
    with closing(sqlite3.connect(tmp_path / "own.sqlite3")) as connection:
        with pytest.raises(SchemaMissing, match=r"own.sqlite3 has no tables.*database_url.*treadle migrate"):
            JoinedSqlite(connection).secret()


def test_a_closed_connection_is_a_store_error(raw: sqlite3.Connection) -> None:
    """Never an error of the driver."""
    raw.close()
    with pytest.raises(StoreError, match="closed database"):
        JoinedSqlite(raw).enqueue([make_job()])
