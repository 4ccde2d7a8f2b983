"""Waiting for a change of a PostgreSQL database."""

import os
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from tests import postgres
from tests.helpers import PATIENCE_S, eventually, open_files, python
from tests.proxy import Proxy

from treadle.store import postgres_wakeup
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.store.postgres_server import NOTIFY_EVERY_S
from treadle.store.postgres_wakeup import FIRST_PAUSE_S, PostgresWakeup
from treadle.testing import ManualClock
from treadle.testing.store_contract import claim, make_job

ENQUEUE = """
import sys
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import make_job
PostgresStore(parse(sys.argv[1])).enqueue([make_job()])
"""


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(parse(postgres_url))
    store.prepare()
    yield store
    store.close()


class Patient(PostgresWakeup):
    """A waiter whose clock stands still: only what it is told ends a wait."""

    def __init__(self, store: PostgresStore) -> None:
        super().__init__(store._listener, ManualClock())
        self.wait(0)
        self._pause_s = PATIENCE_S


def test_a_commit_of_another_process_is_told(store: PostgresStore, postgres_url: str) -> None:
    """By NOTIFY, long before anybody would look."""
    with Patient(store) as wakeup, python("-W", "ignore", "-c", ENQUEUE, postgres_url):
        assert wakeup.wait(PATIENCE_S / 2)


@pytest.mark.parametrize("verb", ["enqueue one", "enqueue many", "promote", "finish in a transaction"])
def test_what_changes_a_job_is_told(store: PostgresStore, verb: str) -> None:
    """Whatever way it is written."""
    store.enqueue([make_job(state="scheduled")])
    verbs: dict[str, Callable[[], object]] = {
        "enqueue one": lambda: store.enqueue([make_job()]),
        "enqueue many": lambda: store.enqueue([make_job() for _ in range(600)]),
        "promote": lambda: store.promote(2**60, 9),
        "finish in a transaction": lambda: _cancel_in_transaction(store),
    }
    with Patient(store) as wakeup:
        store.server.teller._last_s = float("-inf")
        verbs[verb]()
        assert wakeup.wait(PATIENCE_S / 2)


def _cancel_in_transaction(store: PostgresStore) -> None:
    with store.transaction():
        store.enqueue([make_job()])
        claim(store, 1)


def test_a_rollback_is_not_told(store: PostgresStore) -> None:
    """NOTIFY is a part of the transaction."""
    with Patient(store) as wakeup:
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.enqueue([make_job()])
            raise ZeroDivisionError
        assert not wakeup.wait(0.05)


def test_commits_are_told_fifty_times_a_second_at_most(postgres_url: str) -> None:
    """A NOTIFY takes a lock of the whole server; who was told looks again before the next one could come."""
    clock = ManualClock()
    store = PostgresStore(parse(postgres_url))
    store.prepare()
    store.server.teller._clock = clock
    with psycopg.connect(postgres_url, autocommit=True) as listening:
        listening.execute("LISTEN treadle")
        for _ in range(3):
            store.enqueue([make_job()])
        clock.advance(NOTIFY_EVERY_S)
        store.enqueue([make_job()])
        listening.execute("NOTIFY treadle, 'end'")
        assert [notify.payload for notify in listening.notifies(timeout=PATIENCE_S, stop_after=3)] == ["", "", "end"]
    assert NOTIFY_EVERY_S <= FIRST_PAUSE_S
    store.close()


def test_nothing_is_told_where_notify_is_off(store: PostgresStore, postgres_url: str) -> None:
    """The setting `postgres_notify`."""
    quiet = PostgresStore(parse(postgres_url), notify=False)
    with Patient(store) as wakeup:
        quiet.enqueue([make_job()])
        with quiet.transaction():
            quiet.enqueue([make_job()])
        assert not wakeup.wait(0.05)
    quiet.close()


def test_who_looks_only_looks_ever_more_seldom() -> None:
    """20 ms after the last change, then after twice as long, up to 2 s; a wake begins anew."""
    clock = ManualClock()
    with PostgresWakeup(None, clock) as wakeup:
        assert not wakeup.wait(0)
        pauses_ms = []
        for _ in range(9):
            pauses_ms.append(next(ms for ms in range(2001) if clock.advance(0.001) or wakeup.wait(0)) + 1)
        assert [round(pause, -1) for pause in pauses_ms] == [20, 40, 80, 160, 320, 640, 1280, 2000, 2000]
        wakeup.wake()
        assert wakeup.wait(0)
        clock.advance(0.021)
        assert wakeup.wait(0)


def test_a_store_that_polls_holds_no_connection_to_listen(postgres_url: str) -> None:
    """The setting `postgres_listen`: nothing that PgBouncer in transaction mode forbids."""
    store = PostgresStore(parse(postgres_url), listen=False)
    store.prepare()
    with store.wakeup() as wakeup:
        assert not wakeup.wait(0)
        assert "treadle-listen" not in {thread.name for thread in threading.enumerate()}
        assert wakeup.wait(PATIENCE_S)
    store.close()


def test_all_waiters_of_a_process_share_one_connection(store: PostgresStore) -> None:
    """A hundred views that wait for a result cost the server one session more."""
    with Patient(store) as one, Patient(store) as other:
        listeners = [thread for thread in threading.enumerate() if thread.name == "treadle-listen"]
        assert len(listeners) == 1
        store.enqueue([make_job()])
        assert one.wait(PATIENCE_S / 2)
        assert other.wait(PATIENCE_S / 2)


def test_a_lost_connection_is_made_anew(store: PostgresStore, postgres_url: str) -> None:
    """And who waits looks, since nobody knows what has happened meanwhile."""
    with Patient(store) as wakeup, psycopg.connect(postgres_url, autocommit=True) as other:
        _end_listening_session(other)
        assert wakeup.wait(PATIENCE_S / 2)
        store.server.teller._last_s = float("-inf")
        store.enqueue([make_job()])
        assert wakeup.wait(PATIENCE_S / 2)


def test_a_connection_that_is_silent_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy hangs: nothing comes by that connection any more, and nothing says so."""
    monkeypatch.setattr(postgres_wakeup, "ASK_EVERY_S", 0.1)
    with postgres.a_server() as own, Proxy(own.folder / ".s.PGSQL.5432") as proxy:
        address = parse(f"postgresql://treadle@127.0.0.1:{proxy.port}/postgres?sslmode=disable")
        store = PostgresStore(address, answer_timeout_s=0.3)
        store.prepare()
        with Patient(store) as wakeup:
            proxy.hang()
            assert wakeup.wait(PATIENCE_S / 2)
        store.close()


def test_a_server_that_answers_is_listened_to_on_one_connection(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be asked wakes nobody, and what is told meanwhile is heard."""
    monkeypatch.setattr(postgres_wakeup, "ASK_EVERY_S", 0.001)
    with Patient(store) as wakeup:
        assert not wakeup.wait(0.2)
        store.enqueue([make_job()])
        assert wakeup.wait(PATIENCE_S / 2)


def _end_listening_session(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN treadle'"
    assert eventually(lambda: connection.execute(statement).fetchall())


def test_a_waiter_of_a_server_that_is_away_looks(tmp_path) -> None:
    """It is no error: whoever looks meets the trouble where it can be told."""
    store = PostgresStore(parse(f"postgresql:///jobs?host={tmp_path}"))
    with store.wakeup() as wakeup:
        assert wakeup.wait(PATIENCE_S)
    store.close()


def test_closing_leaves_nothing_open(store: PostgresStore) -> None:
    """Neither a thread nor a descriptor; a later waiter begins anew."""

    def open_after_another() -> int:
        with store.wakeup():
            pass
        store.close()
        return len(open_files())

    assert len({open_after_another() for _ in range(3)}) == 1
    assert "treadle-listen" not in {thread.name for thread in threading.enumerate()}


def test_a_forked_process_listens_by_itself(store: PostgresStore, postgres_url: str) -> None:
    """It has a thread and a connection of its own, and the parent's go on."""
    program = """
import os, sys
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import make_job
store = PostgresStore(parse(sys.argv[1]))
with store.wakeup() as wakeup:
    store.enqueue([make_job()])
    child = os.fork()
    if child == 0:
        with store.wakeup() as mine:
            store.enqueue([make_job()])
            os._exit(0 if mine.wait(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert wakeup.wait(10)
store.close()
"""
    with python("-W", "ignore", "-c", program, postgres_url) as process:
        assert process.communicate()[1] == ""
        assert process.returncode == 0


def test_wakes_do_not_pile_up(store: PostgresStore) -> None:
    """Any number of wakes fills nothing, and end one wait."""
    with Patient(store) as wakeup:
        for _ in range(100_000):
            wakeup.wake()
        assert wakeup.wait(PATIENCE_S)
        assert not wakeup.wait(0)


def test_a_signal_handler_may_wake(store: PostgresStore) -> None:
    """A wait that a signal interrupts ends: no lock is held meanwhile."""
    import signal

    with Patient(store) as wakeup:
        before = signal.signal(signal.SIGUSR1, lambda *_: wakeup.wake())
        try:
            timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
            timer.start()
            assert wakeup.wait(PATIENCE_S / 2)
            timer.join()
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_a_promotion_of_nothing_takes_nobodys_turn_to_tell(store: PostgresStore) -> None:
    """A worker promotes four times a second; the end of a job that comes next is told all the same."""
    assert store.promote(0, 9) == 0
    assert store.server.teller.may_tell()
