"""What a sender holds."""

import asyncio
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, jobs_app, working

from treadle import (
    JobCancelled,
    JobFailed,
    JobHandle,
    JobNotFound,
    ResultExpired,
    RetryRefused,
    State,
    Treadle,
    WouldDeadlock,
)
from treadle.events import Event, JobRetried
from treadle.job import Failure, Outcome
from treadle.testing.store_contract import claim, finish, make_job


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


def test_a_handle_is_a_snapshot(app: Treadle) -> None:
    """`refresh` gives a newer one and leaves the old one as it is."""
    job = app.send_function(apps.string_length, "abc")
    job.cancel()
    assert (job.state, job.refresh().state) == (State.READY, State.CANCELLED)
    assert job.refresh().version > job.version


def test_a_handle_tells_what_was_sent(app: Treadle) -> None:
    """Task, queue, labels and times."""
    task = apps.string_length.options(queue="mail", labels={"tenant": "acme"})
    job = app.send_function(task, "abc")
    assert (job.task, job.queue, job.labels) == ("tests.apps.string_length", "mail", {"tenant": "acme"})
    assert job.enqueued_at.tzinfo is UTC
    assert (job.finished_at, job.error, job.messages, job.attempts) == (None, None, [], [])
    assert repr(job) == f"<Job {job.id} tests.apps.string_length ready>"


def test_a_result_that_does_not_come_is_a_timeout(app: Treadle) -> None:
    """With the state that the job is in."""
    job = app.send_function(apps.string_length, "abc")
    with pytest.raises(TimeoutError, match=r"is still ready after 0.01 s"):
        job.result(timeout_s=0.01)


def test_the_result_of_a_failed_job_is_an_error(app: Treadle) -> None:
    """JobFailed, with the remote traceback as its cause."""
    job = app.send_function(apps.fail, "bad")
    with working(app), pytest.raises(JobFailed, match="ValueError: bad") as caught:
        job.result(PATIENCE_S)
    assert "Traceback" in str(caught.value.__cause__)
    assert job.refresh().finished_at is not None


def test_the_result_of_a_cancelled_job_is_an_error(app: Treadle) -> None:
    """JobCancelled, which is a JobFailed."""
    job = app.send_function(apps.string_length, "abc")
    assert job.cancel() is True
    assert job.cancel() is False
    with pytest.raises(JobCancelled, match="was cancelled"):
        job.result()


def test_a_running_job_is_asked_to_end(app: Treadle) -> None:
    """True, and it runs on until its worker ends it; the handle tells when that was asked."""
    job = app.send_function(apps.string_length, "abc")
    (row,) = claim(app.store, 1)
    assert job.refresh().cancel_requested_at is None
    assert job.cancel() is True
    asked = job.refresh()
    assert (asked.state, asked.cancel_requested_at is not None) == (State.RUNNING, True)
    finish(app.store, row, Outcome.cancelled())
    with pytest.raises(JobCancelled):
        job.result()
    assert job.cancel() is False


def test_a_job_that_was_pruned_is_not_found(app: Treadle) -> None:
    """JobNotFound, with what may have happened."""
    job = app.send_function(apps.string_length, "abc")
    job.cancel()
    app.store.prune(2**62, 2**62, 9)
    with pytest.raises(JobNotFound, match="it was pruned, or its transaction rolled back"):
        job.refresh()


def test_waiting_in_a_running_loop_is_refused(app: Treadle) -> None:
    """It would stop the loop; the message names the way."""
    job = app.send_function(apps.string_length, "abc")

    async def wait() -> None:
        job.result()

    with pytest.raises(WouldDeadlock, match=r"use `await job.aresult"):
        asyncio.run(wait())


def test_a_result_that_is_there_may_be_read_anywhere(app: Treadle) -> None:
    """There is nothing to wait for."""
    job = app.send_function(apps.string_length, "abc")
    (row,) = claim(app.store, 1)
    finish(app.store, row, Outcome.succeeded("3"))

    async def read() -> int:
        return job.result()

    assert asyncio.run(read()) == 3


def test_a_coroutine_can_await_the_result(app: Treadle) -> None:
    """`aresult` leaves the loop free."""
    job = app.send_function(apps.string_length, "abc")

    async def wait() -> int:
        return await job.aresult(PATIENCE_S)

    with working(app):
        assert asyncio.run(wait()) == 3


def test_a_coroutine_waits_no_longer_than_it_says(app: Treadle) -> None:
    """TimeoutError, as from `result`."""
    job = app.send_function(apps.string_length, "abc")
    with pytest.raises(TimeoutError):
        asyncio.run(job.aresult(timeout_s=0.01))


def test_a_map_is_cancelled_with_its_parts(app: Treadle) -> None:
    """Those that wait at once, and those that run are asked to end."""
    job = app.send_map(apps.upper, ["a", "b"], parts=2)
    (running,) = claim(app.store, 1)
    assert job.cancel()
    states = {other.id: other.state for other in app.jobs()}
    assert states.pop(running.id) is State.RUNNING
    assert set(states.values()) == {State.CANCELLED}
    assert app.job(running.id).cancel_requested_at is not None


# Sending once more


def failed(app: Treadle, **options: Any) -> JobHandle[int]:
    job = app.send_function(apps.string_length.options(**options), "abc")
    (row,) = claim(app.store, 1)
    finish(app.store, row, Outcome.raised(Failure("builtins.ValueError", "bad"), None))
    return job.refresh()


def test_a_failed_job_is_retried_under_its_id(app: Treadle) -> None:
    """What came of it before stays among its attempts."""
    job = failed(app)
    again = job.retry()
    assert (again.id, again.state, again.error) == (job.id, State.READY, None)
    with working(app):
        assert again.result(PATIENCE_S) == 3
    assert [attempt.outcome for attempt in again.attempts] == ["raised", "succeeded"]


def test_a_retry_is_announced(app: Treadle) -> None:
    """Once it is kept; one that is refused is not."""
    job, told = failed(app), list[Event]()
    app.events.subscribe(told.append)
    again = job.retry()
    with pytest.raises(RetryRefused):
        again.retry()
    assert told == [JobRetried(again.row)]


def test_a_map_is_retried_as_a_whole(app: Treadle) -> None:
    """A part refuses, and names the whole; what has succeeded does not run again."""
    job = app.send_map(apps.upper, ["a", "b"], parts=2)
    good, bad = claim(app.store, 2)
    finish(app.store, bad, Outcome.raised(Failure("builtins.ValueError", "bad"), None))
    finish(app.store, good, Outcome.succeeded('["A"]' if good.part == 0 else '["B"]'))
    with pytest.raises(RetryRefused, match=f"it is a part of job {job.id}: retry that one"):
        app.job(bad.id).retry()
    assert job.retry().state is State.BLOCKED
    with working(app):
        assert job.result(PATIENCE_S) == ["A", "B"]
    assert len(app.job(good.id).attempts) == 1


@pytest.mark.parametrize("state", ["ready", "running", "succeeded"])
def test_a_job_that_has_not_gone_wrong_is_not_retried(app: Treadle, state: str) -> None:
    """The message tells its state."""
    job = app.send_function(apps.string_length, "abc")
    if state != "ready":
        (row,) = claim(app.store, 1)
    if state == "succeeded":
        finish(app.store, row, Outcome.succeeded("3"))
    with pytest.raises(RetryRefused, match=f"cannot be retried: it is {state}, and only"):
        job.retry()


def test_a_job_whose_key_another_has_is_not_retried(app: Treadle) -> None:
    """The message names the other one."""
    old, new = make_job(task="t", unique_key="k"), make_job(task="t", unique_key="k")
    app.store.enqueue([old])
    app.store.cancel([old.id], 0)
    app.store.enqueue([new])
    with pytest.raises(RetryRefused, match=f"job {new.id} has its unique key 'k'"):
        app.job(old.id).retry()


def test_a_key_that_was_free_again_when_it_was_asked_for_is_told_as_that(app: Treadle) -> None:
    """A call has no parts, of which one could run or be gone."""
    job = app.send_function(apps.string_length.options(unique_key="k"), "abc")
    job.cancel()
    assert job.refresh()._why_not_retried() == "somebody had its unique key until just now: try again"


def test_a_whole_whose_parts_are_gone_is_not_retried(app: Treadle) -> None:
    """It says what to do."""
    job = app.send_map(apps.upper, ["a", "b"], parts=2)
    good, bad = claim(app.store, 2)
    finish(app.store, good, Outcome.succeeded('["A"]'))
    finish(app.store, bad, Outcome.raised(Failure("builtins.ValueError", "bad"), None))
    app.store.prune(2**62, 0, 9)
    with pytest.raises(RetryRefused, match="what one had returned is gone: then send it anew"):
        job.retry()


# Results that are kept for a while


def test_a_result_that_was_not_kept_is_told_apart_from_none(app: Treadle) -> None:
    """ResultExpired, with how long it was kept; a result of None is None."""
    short, long = (app.send_function(apps.string_length.options(result_ttl_s=ttl_s), "a") for ttl_s in (2.5, None))
    for row in claim(app.store, 2):
        finish(app.store, row, Outcome.succeeded("null"))
    assert app.store.forget_results(2**62, 9) == 1
    with pytest.raises(ResultExpired, match=r"was dropped 2.5 s after its end"):
        short.result()
    assert long.result() is None
