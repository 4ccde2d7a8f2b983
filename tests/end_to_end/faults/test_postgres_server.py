"""What happens to the PostgreSQL server, and to the way to it, under load."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from benchmarks.servers import PostgresServer
from tests import postgres
from tests.end_to_end.apps import faults
from tests.end_to_end.faults.checker import assert_nothing_is_lost, is_all_done
from tests.end_to_end.faults.conftest import TARGET
from tests.end_to_end.jobs import Jobs, lines
from tests.end_to_end.server import needs_proc
from tests.helpers import eventually
from tests.proxy import Proxy

from treadle.app import Treadle
from treadle.errors import StoreUnavailable

pytestmark = needs_proc

IS_SOAK = "TREADLE_SOAK" in os.environ
COUNT = 10_000 if IS_SOAK else 600
STRIKES = 200 if IS_SOAK else 8
BETWEEN_STRIKES_S = 0.2
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'treadle' AND pid <> pg_backend_pid()"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres.a_server() as server:
        yield server


@pytest.fixture
def app(server: PostgresServer) -> Iterator[Treadle]:
    app = Treadle(server.url, registry=faults.app.registry, app=TARGET)
    yield app
    app.close()


@pytest.fixture
def jobs(server: PostgresServer, app: Treadle) -> Iterator[Jobs]:
    jobs = Jobs(server.url)
    yield jobs
    jobs.close()


def send_many(app: Treadle, journal: Path) -> list[str]:
    return [job.id for job in app.send_many([faults.work.bind(str(journal), f"{n}", n % 5) for n in range(COUNT)])]


def take_all_connections(url: str, taken: ExitStack) -> None:
    """Those that a worker has, too: it is told to connect anew, and cannot."""
    other = taken.enter_context(psycopg.connect(url, autocommit=True))
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.enter_context(psycopg.connect(url))
            other.execute(END_SESSIONS)


def test_sessions_that_are_ended_lose_nothing(server, app, jobs, journal, worker):
    """An administrator, or a failover, ends them again and again: the worker goes on with new ones."""
    sent = send_many(app, journal)
    with worker(FAULTS_URL=server.url) as process, psycopg.connect(server.url, autocommit=True) as other:
        eventually(lambda: len(lines(journal)) > COUNT // 20, 30)
        for _ in range(STRIKES):
            other.execute(END_SESSIONS)
            threading.Event().wait(BETWEEN_STRIKES_S)
        eventually(lambda: is_all_done(jobs), 60)
        assert process.stop() == 0
    assert_nothing_is_lost(jobs, journal, sent)


def test_a_server_without_a_free_connection_is_waited_for(server, app, jobs, journal, worker):
    """A send says what to do, and the worker begins again where it was when there is one."""
    sent = send_many(app, journal)
    with worker(FAULTS_URL=server.url) as process, ExitStack() as taken:
        eventually(lambda: len(lines(journal)) > COUNT // 20, 30)
        take_all_connections(server.url, taken)
        with pytest.raises(StoreUnavailable, match="raise max_connections"):
            Treadle(server.url, registry=faults.app.registry, app=TARGET).send_function(
                faults.work, str(journal), "x", 0
            )
        assert process.process.poll() is None
        taken.close()
        eventually(lambda: is_all_done(jobs), 60)
        assert process.stop() == 0
    assert_nothing_is_lost(jobs, journal, sent)


@pytest.mark.parametrize("how", ["hangs", "drops"])
def test_a_proxy_that_fails_loses_nothing(server, app, jobs, journal, worker, how):
    """It keeps connections and never says anything on them again, or ends them in the middle of what they say."""
    sent = send_many(app, journal)
    with Proxy(server.folder / ".s.PGSQL.5432") as proxy:
        url = f"postgresql://treadle@127.0.0.1:{proxy.port}/postgres?sslmode=disable&gssencmode=disable"
        with worker(FAULTS_URL=url, FAULTS_ANSWER_TIMEOUT_S="0.5") as process:
            eventually(lambda: len(lines(journal)) > COUNT // 20, 30)
            for _ in range(STRIKES // 4):
                {"hangs": proxy.hang, "drops": proxy.drop}[how]()
                threading.Event().wait(1)
            eventually(lambda: is_all_done(jobs), 60)
            assert process.stop() == 0
    assert_nothing_is_lost(jobs, journal, sent)
