"""Waiting for a change."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers import PATIENCE_S, open_files, python

from treadle.store import wakeup as wakeup_module
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle.store.wakeup import LocalWakeup, SqliteWakeup
from treadle.testing.store_contract import make_job

ENQUEUE = """
import sys
from pathlib import Path
from treadle.store.sqlite import SqliteStore, SqliteFile
from treadle.testing.store_contract import make_job
SqliteStore(SqliteFile(Path(sys.argv[1]))).enqueue([make_job()])
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(SqliteFile(tmp_path / "jobs.sqlite3"))
    store.prepare()
    yield store
    store.close()


def test_a_commit_of_another_process_wakes(store: SqliteStore) -> None:
    """Whoever has the file open hears of it."""
    with SqliteWakeup(store.file) as wakeup:
        assert not wakeup.wait(0)
        with python("-c", ENQUEUE, str(store.file.path)):
            assert wakeup.wait(PATIENCE_S)


def test_a_commit_that_is_not_ours_wakes(store: SqliteStore) -> None:
    """Django's connection, or a shell."""
    with SqliteWakeup(store.file) as wakeup, sqlite3.connect(store.file.path) as foreign:
        foreign.execute("INSERT INTO treadle_meta VALUES ('a', 'b')")
        foreign.commit()
        assert wakeup.wait(PATIENCE_S)


def test_the_fallback_wakes_too(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing tells of changes, a slow look finds them."""
    monkeypatch.setattr(wakeup_module, "_watch", lambda path: None)
    with SqliteWakeup(store.file) as wakeup:
        assert not wakeup.wait(0)
        store.enqueue([make_job()])
        assert wakeup.wait(PATIENCE_S)


def test_a_rollback_does_not_wake(store: SqliteStore) -> None:
    """Only what was committed is a change."""
    with SqliteWakeup(store.file) as wakeup:
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.enqueue([make_job()])
            raise ZeroDivisionError
        assert not wakeup.wait(0.05)


def test_every_waiter_wakes(store: SqliteStore) -> None:
    """One commit wakes all."""
    with SqliteWakeup(store.file) as one, SqliteWakeup(store.file) as other:
        store.enqueue([make_job()])
        assert one.wait(PATIENCE_S)
        assert other.wait(PATIENCE_S)


def test_a_waiter_survives_a_checkpoint(store: SqliteStore) -> None:
    """The log is cut to nothing and written anew."""
    with SqliteWakeup(store.file) as wakeup:
        with store.file.locked() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        wakeup.wait(0)
        store.enqueue([make_job()])
        assert wakeup.wait(PATIENCE_S)


def test_a_wait_that_is_not_answered_ends(store: SqliteStore) -> None:
    """After the time given, with False."""
    with SqliteWakeup(store.file) as wakeup:
        assert wakeup.wait(0.01) is False


def test_wakes_do_not_pile_up(store: SqliteStore) -> None:
    """Any number of wakes fills nothing, and end one wait."""
    with SqliteWakeup(store.file) as wakeup:
        for _ in range(100_000):
            wakeup.wake()
        assert wakeup.wait(PATIENCE_S)
        assert not wakeup.wait(0)


def test_no_change_is_missed(store: SqliteStore) -> None:
    """A reader that waits between looks sees each of a hundred commits, without the slow poll."""
    seen: list[int] = []

    def follow() -> None:
        with SqliteWakeup(store.file) as wakeup:
            while sum(store.counts().values()) < 100:
                assert wakeup.wait(PATIENCE_S)
                seen.append(1)

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(100):
        store.enqueue([make_job()])
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_closed_waiter_leaves_no_open_file(store: SqliteStore) -> None:
    """Its connection, its pipe and its watch are closed, and closing twice is no error."""

    def open_files_after_another() -> int:
        wakeup = SqliteWakeup(store.file)
        wakeup.close()
        wakeup.close()
        return len(open_files())

    # SQLite keeps a closed connection's file for the next one while another connection holds locks on it.
    assert len({open_files_after_another() for _ in range(5)}) == 1


def test_a_local_waiter_forgets_what_it_told() -> None:
    """One wake ends one wait."""
    with LocalWakeup() as wakeup:
        wakeup.wake()
        assert wakeup.wait(0)
        assert not wakeup.wait(0)
