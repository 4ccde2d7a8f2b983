"""A connection that gives up a server which does not answer."""

from collections.abc import Iterator

import psycopg
import pytest
from tests import postgres
from tests.proxy import Proxy

from treadle.errors import StoreUnavailable
from treadle.store.postgres_address import parse
from treadle.store.postgres_connection import ImpatientConnection, patient
from treadle.store.postgres_server import PostgresServer

SLEEP = "SELECT pg_sleep(0.3)"


@pytest.fixture
def connection(postgres_url: str) -> Iterator[ImpatientConnection]:
    with ImpatientConnection.connect(postgres_url, autocommit=True) as connection:
        connection.answer_timeout_s = 0.1
        yield connection


def test_a_silent_server_is_given_up() -> None:
    """A proxy that hangs keeps the connection: the statement raises, and the next one has a new connection."""
    with postgres.a_server() as own, Proxy(own.folder / ".s.PGSQL.5432") as proxy:
        address = parse(f"postgresql://treadle@127.0.0.1:{proxy.port}/postgres?sslmode=disable")
        server = PostgresServer(address, answer_timeout_s=1)
        assert server.run("SELECT 1") == [(1,)]
        proxy.hang()
        with pytest.raises(StoreUnavailable, match=r"no answer for 1 s; what was being written may have been kept"):
            server.run("SELECT 1")
        assert server.run("SELECT 1") == [(1,)]
        server.close()


def test_a_connection_that_gave_up_is_closed(connection: ImpatientConnection) -> None:
    """What its answer would be an answer to, nobody could tell."""
    with pytest.raises(psycopg.OperationalError, match=r"no answer for 0\.1 s"):
        connection.execute(SLEEP)
    assert connection.closed


def test_an_answer_in_time_is_given(connection: ImpatientConnection) -> None:
    """The time is that of one answer, and not of all together."""
    connection.answer_timeout_s = 2
    assert [connection.execute("SELECT 1, pg_sleep(0.6)").fetchone()[:1] for _ in range(4)] == [(1,)] * 4


def test_a_patient_connection_waits(connection: ImpatientConnection) -> None:
    """As long as it takes, and only inside the block."""
    with patient(connection):
        connection.execute(SLEEP)
    assert connection.answer_timeout_s == 0.1
