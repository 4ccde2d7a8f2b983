"""What a worker does while its PostgreSQL server is away."""

import signal

import pytest
from tests import postgres
from tests.end_to_end.apps import core
from tests.end_to_end.jobs import Jobs, lines
from tests.end_to_end.server import needs_proc, program
from tests.helpers import eventually

from treadle.app import Treadle
from treadle.errors import StoreUnavailable

pytestmark = needs_proc

JOBS = 400


@pytest.fixture
def server():
    with postgres.a_server() as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_worker_survives_its_server(server, journal, tmp_path, monkeypatch, how):
    """The server is stopped while jobs run, and started again: each job is accepted once, by the same worker."""
    monkeypatch.setenv("JOBS_URL", server.url)
    app = Treadle(server.url, registry=core.app.registry, app="tests.end_to_end.apps.core:app")
    jobs = Jobs(server.url)
    with program("-m", "treadle.cli", "worker", "run", "tests.end_to_end.apps.core:app", folder=tmp_path) as worker:
        app.send_many([core.run_for.bind(str(journal), 2) for _ in range(JOBS)])
        eventually(lambda: len(lines(journal)) > JOBS // 10, 30)
        server.stop(how)
        with pytest.raises(StoreUnavailable, match=r"postgresql://.*it will work again when the server is back"):
            app.send_function(core.string_length, "abc")
        server.start()
        eventually(lambda: jobs.have_succeeded(JOBS), 60)
        assert worker.stop() == 0
    assert jobs.accepted_once()
    app.close()
    jobs.close()
