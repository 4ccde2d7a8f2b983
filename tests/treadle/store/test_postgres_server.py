"""One PostgreSQL database: its connections, its transactions, and the errors it can give."""

import select
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.helpers import PATIENCE_S, eventually, python

from treadle.errors import (
    SchemaMissing,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.store.postgres_errors import explained
from treadle.store.postgres_server import MAX_IDLE, PostgresServer
from treadle.testing.store_contract import found, make_job


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(parse(postgres_url))
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def server(store: PostgresStore) -> PostgresServer:
    return store.server


# Transactions


def test_nested_transactions_are_parts_of_one(server: PostgresServer) -> None:
    """On the same connection; what is inside is kept with what is outside."""
    with server.transaction() as outer, server.transaction() as inner:
        assert inner.connection is outer.connection
        inner.run("INSERT INTO treadle_meta VALUES ('a', 'b')")
    assert server.run("SELECT value FROM treadle_meta WHERE name = 'a'") == [("b",)]


def test_an_error_rolls_back(server: PostgresServer) -> None:
    """Whatever kind of error it is."""
    with pytest.raises(KeyboardInterrupt), server.transaction() as session:
        session.run("INSERT INTO treadle_meta VALUES ('a', 'b')")
        raise KeyboardInterrupt
    assert server.run("SELECT value FROM treadle_meta WHERE name = 'a'") == []


def test_a_short_time_for_an_answer_ends_no_transaction_that_works(postgres_url: str) -> None:
    """The server would end what is idle between two statements for a millisecond."""
    server = PostgresServer(parse(postgres_url), answer_timeout_s=0.0001)
    with server.transaction() as session:
        assert session.run("SHOW idle_in_transaction_session_timeout") == [("1s",)]
    server.close()


def test_a_transaction_that_was_idle_for_too_long_is_told_as_that(server: PostgresServer) -> None:
    """Nothing of it is kept, and the next one has a new connection."""
    with pytest.raises(StoreUnavailable, match=r"nothing of this transaction was kept.*postgres_answer_timeout_s"):
        with server.transaction() as session:
            session.run("SET LOCAL idle_in_transaction_session_timeout = 1")
            assert eventually(lambda: select.select([session.connection], [], [], 0)[0])
    assert server.run("SELECT 1") == [(1,)]


def test_transactions_are_read_committed(server: PostgresServer, postgres_url: str) -> None:
    """Whatever the default of the database is: a statement sees what was committed before it."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'serializable'")
        try:
            fresh = PostgresServer(parse(postgres_url))
            with fresh.transaction() as session:
                assert session.run("SHOW transaction_isolation") == [("read committed",)]
            fresh.close()
        finally:
            other.execute("ALTER ROLE CURRENT_USER RESET default_transaction_isolation")


def test_each_thread_has_a_transaction_of_its_own(server: PostgresServer) -> None:
    """What one has written and not committed the other does not see."""
    seen: list[object] = []

    def look() -> None:
        seen.append(server.is_in_transaction)
        seen.append(server.run("SELECT count(*) FROM treadle_meta WHERE name = 'a'"))

    with server.transaction() as session:
        session.run("INSERT INTO treadle_meta VALUES ('a', 'b')")
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(PATIENCE_S)
    assert seen == [False, [(0,)]]


def test_a_statement_that_failed_unseen_fails_the_transaction(server: PostgresServer) -> None:
    """The server answers such a COMMIT with a rollback and no error; here it is one."""
    with pytest.raises(StoreError, match="nothing of it was kept"), server.transaction() as session:
        with pytest.raises(StoreError):
            session.run("SELECT nonsense()")


# Connections


def test_a_connection_is_used_again(server: PostgresServer) -> None:
    """And no more are kept than a few."""
    with server.transaction() as one:
        pass
    with server.transaction() as other:
        assert other.connection is one.connection
    barrier = threading.Barrier(MAX_IDLE + 3)

    def meet() -> None:
        with server.transaction():
            barrier.wait(PATIENCE_S)

    threads = [threading.Thread(target=meet) for _ in range(MAX_IDLE + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(server._idle) == MAX_IDLE


def test_a_session_that_the_server_has_ended_is_not_used_again(server: PostgresServer, postgres_url: str) -> None:
    """After a restart the first verb works: that a connection is dead is seen before it is used."""
    ((pid,),) = server.run("SELECT pg_backend_pid()")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    assert server.run("SELECT pg_backend_pid()") != [(pid,)]


def test_a_session_that_ends_in_the_middle_is_told(server: PostgresServer) -> None:
    """It is not known whether the statement was done; the next one works."""
    with pytest.raises(StoreUnavailable, match="may have been kept or not"):
        server.run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert server.run("SELECT 1") == [(1,)]


def test_closing_ends_the_sessions(server: PostgresServer) -> None:
    """Those that nobody uses."""
    with server.transaction() as session:
        pass
    server.close()
    assert session.connection.closed


# Errors, explained


def test_a_server_that_is_not_there_is_told_without_a_password(tmp_path: Path) -> None:
    """The message names the address and the next step; no part of the traceback holds the password."""
    address = parse(f"postgresql://me:geheim@/jobs?host={tmp_path}")
    with pytest.raises(
        StoreUnavailable, match=rf"^postgresql:///jobs\?host={tmp_path}: .*nothing was done; "
    ) as caught:
        PostgresStore(address).enqueue([make_job()])
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_is_not_there_is_told(postgres_server: str) -> None:
    """The next step is to make it."""
    url = postgres_server.replace("/postgres?", "/no_such_database?")
    if url == postgres_server:
        pytest.skip("the URL of this server names another database")
    with pytest.raises(StoreUnavailable, match="no_such_database"):
        PostgresServer(parse(url)).run("SELECT 1")


def test_missing_tables_are_told_with_the_next_step(postgres_url: str) -> None:
    """A verb on an empty database names the command."""
    store = PostgresStore(parse(postgres_url))
    with pytest.raises(SchemaMissing, match=r"has no tables of Treadle.*treadle migrate"):
        store.enqueue([make_job()])
    store.close()


@pytest.mark.parametrize(
    ("statement", "kind", "advice"),
    [
        ("RAISE disk_full", StoreFull, "free some space"),
        ("RAISE deadlock_detected", StoreLocked, "try again"),
        ("RAISE serialization_failure", StoreLocked, "try again"),
        ("RAISE lock_not_available", StoreLocked, "end it and try again"),
        ("RAISE query_canceled", StoreLocked, "statement_timeout"),
        ("RAISE insufficient_privilege", StoreReadOnly, "grant"),
        ("RAISE read_only_sql_transaction", StoreReadOnly, "the primary"),
        ("RAISE too_many_connections", StoreUnavailable, "max_connections"),
        ("RAISE invalid_password", StoreUnavailable, "user and password"),
        ("RAISE division_by_zero", StoreError, "division_by_zero"),
    ],
)
def test_an_error_of_the_server_is_ours(
    server: PostgresServer, statement: str, kind: type[StoreError], advice: str
) -> None:
    """With the address, what the server said, and what to do."""
    with pytest.raises(StoreError, match=advice) as caught:
        server.run(f"DO $$ BEGIN {statement}; END $$")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(server.where)


def test_a_password_in_an_error_of_the_driver_is_masked() -> None:
    """Whatever it quotes."""
    with pytest.raises(StoreError, match=r"^there: no postgresql://me:\*\*\*@host$"), explained("there"):
        raise psycopg.Error("no postgresql://me:secret@host")


# Forks

FORK = """
import os, sys
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import found, make_job

store = PostgresStore(parse(sys.argv[1]))
store.prepare()
store.enqueue([make_job()])
child = os.fork()
for _ in range(50):
    store.enqueue([make_job()])
if child == 0:
    os._exit(0 if len(found(store, limit=500)) >= 51 else 1)
assert os.waitpid(child, 0)[1] == 0
assert len(found(store, limit=500)) == 101
store.close()
"""

FORK_IN_TRANSACTION = """
import os, sys
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import found, make_job

class Stopped(Exception):
    pass

store = PostgresStore(parse(sys.argv[1]))
store.prepare()
for parents_end, childs_end in ((None, None), (Stopped, None), (None, Stopped)):
    child = None
    try:
        with store.transaction():
            store.enqueue([make_job()])
            child = os.fork()
            if child == 0:
                store.enqueue([make_job()])
                if childs_end:
                    raise childs_end
            else:
                assert os.waitpid(child, 0)[1] == 0
                if parents_end:
                    raise parents_end
    except Stopped:
        pass
    if child == 0:
        os._exit(0)
# Each child's, and the parent's where it committed.
assert len(found(store)) == 3 + 2
store.close()
"""


@pytest.mark.parametrize("program", [FORK, FORK_IN_TRANSACTION], ids=["between", "in a transaction"])
def test_a_store_goes_on_in_a_forked_process(postgres_url: str, program: str) -> None:
    """Parent and child write at once, each on connections of its own; the parent's transaction is the parent's."""
    with python("-W", "ignore", "-c", program, postgres_url) as process:
        assert process.communicate()[1] == ""
        assert process.returncode == 0


def test_what_is_found_is_what_was_sent(store: PostgresStore) -> None:
    """Many at once come by COPY, few by INSERT: the same either way."""
    few, many = [make_job() for _ in range(3)], [make_job() for _ in range(600)]
    store.enqueue(few)
    store.enqueue(many)
    assert set(found(store, limit=1000)) == {job.id for job in few + many}
