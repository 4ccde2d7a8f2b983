"""Hooks around jobs: what a request had in force is in force in its jobs."""

from contextlib import contextmanager

import pytest
from flask import Flask, current_app, g

from flask_worker import FlaskWorker
from treadle.errors import ConfigurationError


class Tenant:
    """Carries `g.tenant` from a request to its jobs."""

    def capture(self):
        return {"tenant": g.tenant} if "tenant" in g else {}

    @contextmanager
    def enter(self, headers, job):
        g.tenant = headers.get("tenant", "nobody")
        yield


def whose():
    return f"{g.tenant} of {current_app.name}"


@pytest.fixture
def worker():
    made = FlaskWorker()
    made.task(whose)
    return made


@pytest.fixture
def make_site(worker):
    """Applications that this one FlaskWorker serves."""

    def make(name, mode="collect"):
        app = Flask(name)
        app.config.update(TESTING=True, SECRET_KEY="for tests only", WORKER_MODE=mode)
        worker.init_app(app)
        app.before_request(lambda: setattr(g, "tenant", "acme"))
        app.add_url_rule("/send", view_func=lambda: {"id": worker.send_function(worker.task(whose)).id})
        return app

    return make


def test_what_was_captured_in_a_request_is_in_the_context_of_its_job(worker, make_site):
    """The job runs later, when the request's own context is gone."""
    worker.around(Tenant)
    app = make_site("shop")
    job_id = app.test_client().get("/send").json["id"]
    with app.app_context():
        worker.run_pending()
        assert worker.job(job_id).result() == "acme of shop"


def test_a_job_that_runs_inside_the_send_changes_nothing_of_the_request(worker, make_site):
    """The hook is entered in the job's own context."""
    worker.around(Tenant())
    app = make_site("shop", mode="immediate")
    with app.app_context():
        g.tenant = "acme"
        assert worker.send_function(worker.task(whose)).result() == "acme of shop"
        del g.tenant
        assert worker.send_function(worker.task(whose)).result() == "nobody of shop"
        assert "tenant" not in g


def test_a_hook_is_around_the_jobs_of_each_application(worker, make_site):
    """Added before or after the application is made, as a task."""
    apps = [make_site("one", "immediate")]
    worker.around(Tenant)
    apps.append(make_site("other", "immediate"))
    for app in apps:
        with app.app_context():
            assert worker.send_function(worker.task(whose)).result() == f"nobody of {app.name}"


def test_a_hook_stays_in_another_mode(worker, make_site):
    """`worker.testing` changes settings, and neither tasks nor hooks."""
    worker.around(Tenant)
    app = make_site("shop")
    with worker.testing(app) as jobs:
        app.test_client().get("/send")
        assert [job.result() for job in jobs.run_pending()] == ["acme of shop"]


def test_what_is_no_hook_is_refused(worker):
    """Where it is added."""
    with pytest.raises(ConfigurationError, match="capture"):
        worker.around(whose)
