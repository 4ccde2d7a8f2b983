"""Running what is ready here and now, as the modes of tests do."""

import os
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests import apps

from treadle import State, Treadle
from treadle.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(clock: ManualClock) -> Treadle:
    return Treadle(registry=apps.app.registry, mode="collect", clock=clock)


def test_ready_jobs_run_here(app: Treadle) -> None:
    """In this process and thread, whatever pool they ask for, the most urgent first."""
    app.send_function(apps.pid)
    app.send_function(apps.thread_name)
    app.send_function(apps.double_soon, 2)
    ran = {job.task.rpartition(".")[2]: job.result() for job in app.run_pending()}
    assert ran == {"pid": os.getpid(), "thread_name": threading.current_thread().name, "double_soon": 4}


def test_what_runs_may_send_and_that_runs_too(app: Treadle) -> None:
    """A map's whole becomes ready while its parts run."""
    job = app.send_map(apps.upper, ["a", "b"], reduce=apps.join_words)
    app.run_pending()
    assert job.refresh().result() == "A B"


def test_an_error_fails_the_job_and_not_the_test(app: Treadle) -> None:
    """It is kept as a worker would keep it."""
    app.send_function(apps.fail, "bad")
    (job,) = app.run_pending()
    assert (job.state, str(job.error)) == (State.FAILED, "ValueError: bad")


def test_a_retry_waits_for_its_time(app: Treadle, clock: ManualClock) -> None:
    """It runs once the clock was moved."""
    app.send_function(apps.fail_and_wait)
    (job,) = app.run_pending()
    assert job.state is State.SCHEDULED
    assert app.run_pending() == []
    clock.advance(3600)
    assert [again.id for again in app.run_pending()] == [job.id]


def test_a_snooze_waits_for_its_time(app: Treadle, clock: ManualClock) -> None:
    """As often as it likes, on its only attempt."""
    job = app.send_function(apps.snooze, 60)
    for _ in range(3):
        assert [(ran.state, ran.error) for ran in app.run_pending()] == [(State.SCHEDULED, None)]
        assert app.run_pending() == []
        clock.advance(60)
    assert [(attempt.outcome, attempt.failure) for attempt in job.attempts] == [("snoozed", None)] * 3


def test_a_rejection_fails_the_job_and_not_the_test(app: Treadle) -> None:
    """With its reason."""
    app.send_function(apps.reject, "no such account")
    (job,) = app.run_pending()
    assert (job.state, str(job.error)) == (State.FAILED, "treadle.errors.Reject: no such account")


def test_a_snooze_leaves_the_send_alone_in_the_immediate_mode(clock: ManualClock) -> None:
    """The job waits, also where it is to run again at once: nothing goes round for ever inside a send."""
    app = Treadle(registry=apps.app.registry, mode="immediate", clock=clock)
    assert app.send_function(apps.snooze, 0).refresh().state is State.SCHEDULED


def test_a_job_that_ran_twice_is_told_once(app: Treadle, tmp_path: object) -> None:
    """As it ended."""
    app.send_function(apps.fail_until, f"{tmp_path}/runs", 2)
    app.run_pending()
    (job,) = app.jobs()
    eventually_ran = app.run_pending()
    assert len(eventually_ran) <= 1
    assert job.refresh().state is State.SUCCEEDED


class _Meanwhile(ManualClock):
    """Has something else happen between two readings of the time."""

    def __init__(self, step: Callable[[], object]) -> None:
        super().__init__()
        self._steps = iter((lambda: None, step))

    def now_us(self) -> int:
        next(self._steps, lambda: None)()
        return super().now_us()


def test_a_run_that_ends_meanwhile_takes_nothing_from_another(tmp_path: Path) -> None:
    """As in two threads of a site in the mode `immediate`: each is known to the store by itself."""
    url = f"sqlite:///{tmp_path}/jobs.sqlite3"
    other = Treadle(url, registry=apps.app.registry, mode="collect", clock=ManualClock())
    clock = _Meanwhile(other.run_pending)
    clock.advance(1)
    app = Treadle(url, registry=apps.app.registry, mode="collect", clock=clock)
    with closing(app), closing(other):
        job = app.job(other.send_function(apps.upper.options(run_after=timedelta(seconds=1)), "a").id)
        app.run_pending()
        assert job.refresh().state is State.SUCCEEDED


def test_reports_are_kept(app: Treadle) -> None:
    """Progress and messages."""
    app.send_function(apps.count_to, 3)
    (job,) = app.run_pending()
    assert job.progress.done == 3
    assert [message.body for message in job.messages] == [{"counted": 3}, "done"]


def test_what_a_worker_would_announce_is_announced(app: Treadle) -> None:
    """Whoever listens hears in a test what it would hear in a worker."""
    heard: list[str] = []
    app.send_function(apps.fail, "bad")
    app.events.subscribe(lambda event: heard.append(type(event).__name__))
    app.run_pending()
    assert heard == ["JobStarted", "JobEnded"]
