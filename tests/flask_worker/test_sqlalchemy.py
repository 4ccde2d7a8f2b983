"""Flask-SQLAlchemy beside jobs: whose session and whose connection a job has."""

import importlib
import sys

import pytest
from tests.helpers import eventually, working

from treadle import State
from treadle.errors import JobNotFound


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The application's module, made anew, with a database of this test's."""
    monkeypatch.setenv("SQL_SITE_URL", f"sqlite:///{tmp_path / 'guests.sqlite3'}")
    monkeypatch.delitem(sys.modules, "tests.flask_worker.sql_site", raising=False)
    site = importlib.import_module("tests.flask_worker.sql_site")
    with site.app.app_context():
        yield site
        site.db.session.remove()
        site.db.engine.dispose()
    site.app.extensions["worker"].close()


def checked_out(site):
    """How many connections somebody holds."""
    return site.db.engine.pool.checkedout()


@pytest.mark.parametrize("and_then", ["return", "raise"])
def test_the_session_ends_with_its_job(site, and_then):
    """What a job has not committed is rolled back at its end, and its connection is free for the next."""
    site.worker.send_function(site.add, "Ada", and_then)
    site.worker.run_pending()
    assert checked_out(site) == 0
    site.worker.send_function(site.add, "Bob", "commit")
    [job] = site.worker.run_pending()
    assert job.result() == 1


def test_a_job_that_runs_inside_a_request_has_a_session_of_its_own(site):
    """What the caller has in its session is neither seen nor committed by the job."""
    site.db.session.add(site.Guest(name="of the caller"))
    with site.worker.testing(mode="immediate"):
        job = site.worker.send_function(site.add, "of the job", "commit")
    assert job.result() == 1
    site.db.session.rollback()
    assert site.count() == 1


def test_jobs_that_run_as_coroutines_have_a_session_each(site):
    """Though they share a thread, and run at once."""
    treadle = site.app.extensions["worker"]
    with working(treadle):
        jobs = [site.worker.send_function(site.session_of_its_own, 1000) for _ in range(4)]
        eventually(lambda: all(job.refresh().state is State.SUCCEEDED for job in jobs))
    assert len({job.result() for job in jobs}) == 4
    assert checked_out(site) == 0


def test_no_connection_is_shared_with_children(site):
    """Also where the application's module opens its database when it is imported, before children are made."""
    with working(site.app.extensions["worker"]):
        jobs = site.worker.send_many([site.who_opened.bind() for _ in range(8)])
        eventually(lambda: all(job.refresh().state.is_finished for job in jobs))
    assert all(opened == runs for opened, runs in (job.result() for job in jobs))


def test_a_send_joins_the_transaction_of_the_session(site):
    """The job is there with the commit, and gone with a rollback."""
    assert site.app.test_cli_runner().invoke(args=["worker", "migrate"]).exit_code == 0
    client = site.app.test_client()
    kept = client.post("/guests", data={"name": "Ada", "then": "commit"}).json
    gone = client.post("/guests", data={"name": "Bob", "then": "rollback"}).json
    assert (kept["guests"], site.worker.job(kept["id"]).state) == (1, State.READY)
    assert gone["guests"] == 1
    with pytest.raises(JobNotFound):
        site.worker.job(gone["id"])
