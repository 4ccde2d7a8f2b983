"""Blinker's signals: who hears what, and where."""

import pytest
from flask import current_app
from tests.flask_worker.site import double_soon, fail, fail_twice, string_length, worker
from tests.helpers import eventually, working

from flask_worker import signals
from treadle.states import State

SIGNALS = ("job_sent", "job_retried", "job_started", "job_ended")


@pytest.fixture
def heard(app):
    """What signals told about this application, in order."""
    told = []
    receivers = {name: lambda sender, _name=name, **facts: told.append((_name, facts)) for name in SIGNALS}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, app)
    yield told
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver, app)


def test_a_job_is_sent_started_and_ended(heard):
    """Each signal has a handle on the job, as it was at that moment."""
    job = worker.send_function(string_length, "abc")
    worker.run_pending()
    assert [name for name, _ in heard] == ["job_sent", "job_started", "job_ended"]
    assert [facts["job"].state for _, facts in heard] == [State.READY, State.RUNNING, State.SUCCEEDED]
    assert {facts["job"].id for _, facts in heard} == {job.id}
    assert heard[-1][1]["job"].result() == 3


def test_the_end_of_a_run_tells_what_it_ended_in(heard):
    """A run that raised and is tried again is told of, and its job is not finished then."""
    worker.send_function(fail_twice)
    while worker.run_pending():
        pass
    ends = [facts for name, facts in heard if name == "job_ended"]
    assert [(end["outcome"], end["job"].state.is_finished) for end in ends] == [("raised", False), ("raised", True)]
    assert [str(end["job"].error) for end in ends] == ["None", "ValueError: again"]


def test_a_job_that_is_sent_once_more_has_a_signal(heard):
    """`retry` of a job that failed is told in the process that did it."""
    worker.send_function(fail, "x")
    [job] = worker.run_pending()
    heard.clear()
    job.retry()
    assert [(name, facts["job"].id) for name, facts in heard] == [("job_retried", job.id)]


def test_a_worker_tells_of_what_it_runs(make_app, tmp_path):
    """Start and end are told in its process, with its id, and once the store has the end."""
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    app = make_app(WORKER_MODE="store", WORKER_DATABASE_URL=url, WORKER_APP="tests.flask_worker.site:create_app()")
    told = []

    def receive(sender, job, worker_id, outcome="", **extra):
        told.append((worker_id, str(outcome), job.refresh().state.is_finished))

    with signals.job_started.connected_to(receive, app), signals.job_ended.connected_to(receive, app):
        with app.app_context(), working(app.extensions["worker"]) as its_worker:
            worker.send_function(double_soon, 4)
            eventually(lambda: len(told) == 2)
    assert told == [(its_worker.id, "", False), (its_worker.id, "succeeded", True)]


def test_another_app_hears_nothing(heard, make_app):
    """The sender is the application, so a receiver for one hears nothing of another."""
    with make_app().app_context():
        worker.send_function(string_length, "abc")
        worker.run_pending()
    assert heard == []


def test_a_receiver_has_the_context_of_the_sender(app, make_app):
    """Whatever is current where the fact is announced; a context of the sender that is current stays."""
    seen = []

    @signals.job_sent.connect_via(app)
    def receive(sender, job, **extra):
        seen.append((sender is app, current_app._get_current_object() is app, extra))

    with make_app().app_context():
        app.extensions["worker"].send_function(string_length, "abc")
    worker.send_function(string_length, "abc")
    assert seen == [(True, True, {})] * 2


def test_a_receiver_may_be_a_coroutine_function(app):
    """Flask runs it as it runs async views."""
    seen = []

    @signals.job_sent.connect_via(app)
    async def receive(sender, job, **extra):
        seen.append(job.task)

    worker.send_function(string_length, "abc")
    assert seen == [string_length.name]


def test_a_receiver_that_raises_harms_nothing(app, caplog):
    """The job is sent all the same, and the error is logged."""

    @signals.job_sent.connect_via(app)
    def receive(sender, **extra):
        raise ValueError("broken receiver")

    assert worker.send_function(string_length, "abc").refresh().state == "ready"
    assert "broken receiver" in caplog.text


def test_where_nobody_listens_nothing_is_made(app, monkeypatch):
    """Neither a handle nor a context, so a signal costs nothing."""
    monkeypatch.setattr(signals, "_context_of", None)
    worker.send_function(string_length, "abc")
    assert len(worker.run_pending()) == 1
