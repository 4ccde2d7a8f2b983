"""Runs that are ended before they end by themselves: limits that were passed, and cancels."""

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, working

from treadle import JobCancelled, JobHandle, State, Treadle
from treadle.errors import MemoryLimitExceeded, TaskTimeout, WorkerCrashed
from treadle.events import JobEnded, JobStarted
from treadle.pools.contract import Pool, Reporter
from treadle.task import Task
from treadle.testing import ManualClock
from treadle.worker import execution
from treadle.worker.execution import Work
from treadle.worker.places import Place

SLOTS = 2


class CommandedPool(Pool):
    """Ends calls as it is told, beside the worker's process as far as that can see; `None` runs the function."""

    in_process = False

    def __init__(self) -> None:
        self.ends: deque[BaseException | None] = deque()
        self.limits: list[dict[str, Any]] = []
        self.running: list[Future[Any]] = []
        self.starts: list[Callable[[], None]] = []
        self.waiting: list[Future[Any]] = []
        self.must_wait = False
        self.tells_late = False

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        memory_mb: float | None = None,
        cores: int | None = None,
        on_started: Callable[[], None] | None = None,
        on_progress: Reporter | None = None,
    ) -> "Future[Any]":
        future: Future[Any] = Future()
        if on_started is None:
            # The worker's warm-up.
            future.set_result(function(*args))
            return future
        if cores is not None and cores > SLOTS:
            raise ValueError(f"cores={cores} are more than the {SLOTS} workers of this pool")
        self.limits.append({"timeout_s": timeout_s, "memory_mb": memory_mb, "cores": cores})
        if self.must_wait:
            self.waiting.append(future)
        if self.must_wait or self.tells_late:
            self.starts.append(on_started)
        else:
            on_started()
        self._end_or_keep(future, function, args)
        return future

    def _end_or_keep(self, future: "Future[Any]", function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        end = self.ends.popleft() if self.ends else future
        if end is None:
            future.set_result(function(*args))
        elif isinstance(end, BaseException):
            future.set_exception(end)
        else:
            self.running.append(future)

    def cancel_waiting(self, future: "Future[Any]") -> bool:
        return future in self.waiting and future.cancel()

    def kill(self, future: "Future[Any]") -> bool:
        # As ProcessPool does: cancelled() is True of a call that was ended while it ran.
        return future.cancel() and not future.set_running_or_notify_cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


class CommandedTreadle(Treadle):
    """An application whose worker has such a pool for `processes`."""

    def make_places(self, *args: Any) -> list[Place]:
        self.commanded = CommandedPool()
        self.place = Place("processes", SLOTS, lambda: self.commanded)
        return [self.place]


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


@pytest.fixture(autouse=True)
def _runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commanded pool runs, it runs here."""
    monkeypatch.setattr(execution, "_installed", apps.app.runner)


@pytest.fixture
def commanded(tmp_path: Path) -> CommandedTreadle:
    return make_commanded(tmp_path)


def make_commanded(folder: Path, **options: Any) -> CommandedTreadle:
    url = f"sqlite:///{folder / 'jobs.sqlite3'}"
    app = CommandedTreadle(url, registry=apps.app.registry, app="tests.apps:app", concurrency=SLOTS, **options)
    app.make_places()
    return app


def pool_of(app: CommandedTreadle) -> CommandedPool:
    """The pool of the worker that runs now."""
    eventually(lambda: app.place._pool is app.commanded)
    return app.commanded


def started(app: Treadle) -> list[str]:
    """The ids of the jobs whose functions have started, from now on."""
    ids: list[str] = []
    app.events.subscribe(lambda event: ids.append(event.job.id) if isinstance(event, JobStarted) else None)
    return ids


def outcomes(job: JobHandle[Any]) -> list[str]:
    return [str(attempt.outcome) for attempt in job.attempts]


def states(app: Treadle) -> set[State]:
    return {job.state for job in app.jobs()}


# Limits


def test_a_pool_is_told_the_limits_of_a_job(commanded: CommandedTreadle) -> None:
    """Those that it has."""
    with working(commanded):
        pool = pool_of(commanded)
        pool.ends.extend([None, None])
        limited = apps.string_length.options(timeout_s=5, memory_mb=100, cores=2)
        assert commanded.send_function(limited, "abc").result(PATIENCE_S) == 3
        assert commanded.send_function(apps.string_length, "ab").result(PATIENCE_S) == 2
    none = dict.fromkeys(("timeout_s", "memory_mb", "cores"))
    assert pool.limits == [{"timeout_s": 5, "memory_mb": 100, "cores": 2}, none]


@pytest.mark.parametrize("max_crashes", [0, 3])
def test_a_limit_that_was_passed_is_tried_again(commanded: CommandedTreadle, tmp_path: Path, max_crashes: int) -> None:
    """As an error is, by the task's own rule, whatever crashes it may have; each attempt says what it was."""
    with working(commanded):
        pool_of(commanded).ends.extend([TaskTimeout("after 5 s"), MemoryLimitExceeded("grew by 101 MB"), None])
        task = apps.fail_until.options(max_crashes=max_crashes)
        job = commanded.send_function(task, str(tmp_path / "runs"), 1)
        assert job.result(PATIENCE_S) == 1
    assert outcomes(job) == ["timed_out", "out_of_memory", "succeeded"]
    assert job.refresh().row.crashes == 0


def test_the_last_attempt_fails_the_job_with_the_limit(commanded: CommandedTreadle) -> None:
    """The reason names the error of the pool."""
    with working(commanded):
        pool_of(commanded).ends.append(TaskTimeout("tests.apps.string_length ran longer than its timeout_s=5"))
        job = commanded.send_function(apps.string_length, "abc").wait(PATIENCE_S)
    assert job.error is not None
    assert (job.state, job.error.error_class) == (State.FAILED, "treadle.errors.TaskTimeout")
    assert "longer than its timeout_s=5" in job.error.message


def test_a_retry_after_a_limit_waits_as_the_task_says(tmp_path: Path) -> None:
    """Its back-off is asked in the worker's process, since the one of the run is gone."""
    clock = ManualClock()
    commanded = make_commanded(tmp_path, clock=clock)
    with working(commanded):
        pool_of(commanded).ends.append(MemoryLimitExceeded("grew by 101 MB"))
        job = commanded.send_function(apps.fail_and_wait)
        eventually(lambda: job.refresh().state is State.SCHEDULED)
    assert job.refresh().row.run_at_us >= clock.now_us() + 3599 * 1_000_000


def test_a_crash_is_none_of_the_limits(commanded: CommandedTreadle) -> None:
    """It costs no attempt, and `max_crashes` ends a job that kills its processes."""
    with working(commanded):
        pool_of(commanded).ends.extend([WorkerCrashed("killed by SIGSEGV", -11)] * 4)
        job = commanded.send_function(apps.string_length, "abc").wait(PATIENCE_S)
    assert (job.state, outcomes(job)) == (State.FAILED, ["crashed"] * 4)
    assert "killed by SIGSEGV" in str(job.error)


def test_a_limit_that_no_slot_can_keep_fails_the_job_alone(commanded: CommandedTreadle) -> None:
    """At once, with the reason of the pool, whatever attempts are left; the worker goes on."""
    with working(commanded):
        pool_of(commanded).ends.append(None)
        job = commanded.send_function(apps.string_length.options(cores=8, max_attempts=5), "abc").wait(PATIENCE_S)
        assert commanded.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert (job.state, outcomes(job)) == (State.FAILED, ["unfit"])
    assert "cores=8 are more than the 2 workers of this pool" in str(job.error)


def test_a_job_of_several_cores_starts_when_its_pool_says_so(tmp_path: Path) -> None:
    """It may wait for its slots: the row tells of the start itself, not of the claim."""
    clock = ManualClock()
    commanded = make_commanded(tmp_path, clock=clock)
    with working(commanded) as worker:
        pool = pool_of(commanded)
        pool.must_wait = True
        job = commanded.send_function(apps.string_length.options(cores=2), "abc")
        eventually(lambda: pool.starts)
        clock.advance(60)
        pool.starts[0]()
        worker._wakeup.wake()
        eventually(lambda: job.refresh().row.started_at_us == clock.now_us())


# Ends from outside


def test_a_run_that_was_cut_off_runs_again(commanded: CommandedTreadle) -> None:
    """Refunded and told as interrupted where it had begun, although its future says that it was cancelled."""
    with working(commanded):
        pool = pool_of(commanded)
        job = commanded.send_function(apps.string_length, "abc")
        eventually(lambda: pool.running)
        pool.ends.append(None)
        pool.running[0].cancel()
        assert job.result(PATIENCE_S) == 3
    assert outcomes(job) == ["interrupted", "succeeded"]
    assert job.refresh().row.attempt == 1


def test_a_call_that_never_began_is_given_back(commanded: CommandedTreadle) -> None:
    """As if it had not been claimed."""
    with working(commanded):
        pool = pool_of(commanded)
        pool.must_wait = True
        job = commanded.send_function(apps.string_length, "abc")
        eventually(lambda: pool.running)
        pool.must_wait = False
        pool.ends.append(None)
        pool.running[0].cancel()
        assert job.result(PATIENCE_S) == 3
    assert outcomes(job) == ["succeeded"]


def test_who_may_run_once_does_not_run_again_on_a_guess(commanded: CommandedTreadle) -> None:
    """A pool may tell of a start a moment late, so a job that was handed over counts as begun."""
    with working(commanded):
        pool = pool_of(commanded)
        pool.must_wait = True
        job = commanded.send_function(apps.string_length.options(max_crashes=0), "abc")
        eventually(lambda: pool.running)
    assert (job.refresh().state, outcomes(job)) == (State.FAILED, ["interrupted"])


def test_a_run_whose_start_is_told_late_is_interrupted(commanded: CommandedTreadle) -> None:
    """And not given back as if it had never run."""
    with working(commanded):
        pool = pool_of(commanded)
        pool.tells_late = True
        job = commanded.send_function(apps.string_length, "abc")
        eventually(lambda: pool.running)
    assert outcomes(job) == ["interrupted"]


def test_what_runs_is_never_given_back(commanded: CommandedTreadle) -> None:
    """A prefetched job whose start is not told yet goes on: to cancel it would kill it."""
    with working(commanded) as worker:
        pool = pool_of(commanded)
        pool.ends.append(None)
        commanded.send_function(apps.string_length, "abc").result(PATIENCE_S)
        pool.tells_late = True
        jobs = [commanded.send_function(apps.string_length, "ab") for _ in range(SLOTS + 1)]
        eventually(lambda: len(pool.running) == len(jobs))
        worker._flights.give_back(0)
        assert not any(future.cancelled() for future in pool.running)


# Cancelling


def test_a_cancelled_run_whose_start_is_told_late_has_run(commanded: CommandedTreadle) -> None:
    """Its attempt is on record."""
    with working(commanded):
        pool = pool_of(commanded)
        pool.tells_late = True
        job = commanded.send_function(apps.string_length, "abc")
        eventually(lambda: pool.running)
        job.cancel()
        assert job.wait(PATIENCE_S).state is State.CANCELLED
    assert outcomes(job) == ["cancelled"]


@pytest.mark.parametrize("task", [apps.wait_for, apps.wait_soon_for], ids=lambda task: task.__name__)
def test_a_running_job_is_cancelled(app: Treadle, gate: Gate, task: Task[..., Any]) -> None:
    """Soon, in a process or as a coroutine; it does not run again, and the worker goes on."""
    ids = started(app)
    ends: list[JobEnded] = []
    app.events.subscribe(lambda event: ends.append(event) if isinstance(event, JobEnded) else None)
    with working(app):
        job = app.send_function(task.options(max_attempts=5), str(gate.path))
        eventually(lambda: ids)
        assert job.cancel() is True
        with pytest.raises(JobCancelled):
            job.result(PATIENCE_S)
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert (job.refresh().state, outcomes(job)) == (State.CANCELLED, ["cancelled"])
    assert (job.refresh().error, job.cancel()) == (None, False)
    assert ends[0].outcome.kind == "cancelled"


def test_a_running_job_ends_with_the_future_that_its_pool_cancels(commanded: CommandedTreadle) -> None:
    """Also where the pool tells of a kill as of a call that was cancelled."""
    with working(commanded):
        pool = pool_of(commanded)
        job = commanded.send_function(apps.string_length, "abc")
        eventually(lambda: pool.running)
        job.cancel()
        assert job.wait(PATIENCE_S).state is State.CANCELLED
    assert outcomes(job) == ["cancelled"]


@pytest.mark.parametrize("pool", ["threads", "inline"])
def test_what_runs_inside_the_worker_ends_at_its_next_report(app: Treadle, pool: str, tmp_path: Path) -> None:
    """It cannot be killed; a report of progress raises in it, past every `except Exception`."""
    ids = started(app)
    with working(app):
        job = app.send_function(apps.report_for_ever.options(pool=pool), str(tmp_path))
        eventually(lambda: ids)
        assert job.cancel() is True
        assert job.wait(PATIENCE_S).state is State.CANCELLED
    assert outcomes(job) == ["cancelled"]
    assert (tmp_path / "cleaned up").exists()


def test_a_thread_that_reports_nothing_runs_to_its_end(app: Treadle, gate: Gate) -> None:
    """And what it returns stands."""
    ids = started(app)
    with working(app) as worker:
        job = app.send_function(apps.wait_in_thread, str(gate.path))
        eventually(lambda: ids)
        assert job.cancel() is True
        flights = worker._places["threads"].flights
        eventually(lambda: all(flight.cancel_requested_at_us for flight in flights.values()))
        gate.open()
        assert job.result(PATIENCE_S) == "open"
    assert job.refresh().state is State.SUCCEEDED


def test_a_cancelled_map_ends_its_running_parts(commanded: CommandedTreadle) -> None:
    """And those that wait never run."""
    with working(commanded):
        pool = pool_of(commanded)
        job = commanded.send_map(apps.upper, list("abcd"), parts=4)
        eventually(lambda: len(pool.running) == SLOTS)
        assert job.cancel() is True
        eventually(lambda: states(commanded) == {State.CANCELLED})
    assert len(pool.limits) == SLOTS


def test_a_cancelled_part_fails_its_map(commanded: CommandedTreadle) -> None:
    """The whole cannot come to its result without it."""
    with working(commanded):
        pool = pool_of(commanded)
        whole = commanded.send_map(apps.upper, ["a"], parts=1)
        eventually(lambda: pool.running)
        (part,) = (job for job in commanded.jobs() if job.id != whole.id)
        part.cancel()
        assert whole.wait(PATIENCE_S).state is State.FAILED
    assert "part 0: cancelled" in str(whole.refresh().error)


def test_an_interrupted_job_that_was_to_be_cancelled_is_cancelled(tmp_path: Path) -> None:
    """A stopping worker gives it to nobody, although it had not come to kill it."""
    clock = ManualClock()
    commanded = make_commanded(tmp_path, clock=clock)
    with working(commanded):
        pool = pool_of(commanded)
        job = commanded.send_function(apps.string_length, "abc")
        eventually(lambda: pool.running)
        # The clock stands, so the duty that looks for cancels does not come round again.
        assert job.cancel() is True
    assert (job.refresh().state, outcomes(job)) == (State.CANCELLED, ["interrupted"])


def test_an_end_that_comes_before_the_kill_stands(tmp_path: Path) -> None:
    """A job that has finished is finished."""
    commanded = make_commanded(tmp_path, clock=ManualClock())
    with working(commanded):
        pool = pool_of(commanded)
        job = commanded.send_function(apps.pid)
        eventually(lambda: pool.running)
        assert job.cancel() is True
        pool.running[0].set_result(commanded.runner.run(Work(job.row)))
        assert job.result(PATIENCE_S) == os.getpid()


def test_nothing_of_a_cancel_stays_behind(app: Treadle, tmp_path: Path) -> None:
    """The process forgets which runs it was to end."""
    ids = started(app)
    with working(app):
        job = app.send_function(apps.report_for_ever.options(pool="threads"), str(tmp_path))
        eventually(lambda: ids)
        job.cancel()
        job.wait(PATIENCE_S)
    assert execution.cancelled_here == set()
    eventually(lambda: not any(thread.name.startswith("treadle-job") for thread in threading.enumerate()))
