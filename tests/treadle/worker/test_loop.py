"""A real worker on a real store, in a thread of the test."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive, jobs_app, python, running, working

from treadle import JobFailed, JobHandle, PoolBroken, State, Treadle
from treadle.errors import StoreError
from treadle.events import (
    Event,
    JobEnded,
    JobEnqueued,
    JobsRescued,
    JobStarted,
    LateResultRefused,
    StoreAway,
    StoreBack,
    WorkerStarted,
    WorkerStopped,
)
from treadle.job import OutcomeKind
from treadle.task import Registry
from treadle.testing import ManualClock

DAY_S = 86_400


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


def listen(app: Treadle) -> list[Event]:
    """Everything that this application announces from now on."""
    events: list[Event] = []
    app.events.subscribe(events.append)
    return events


def outcomes(job: JobHandle[Any]) -> list[str]:
    return [str(attempt.outcome) for attempt in job.attempts]


def ended(job: JobHandle[Any]) -> JobHandle[Any]:
    return job.wait(PATIENCE_S)


def in_state(job: JobHandle[Any], state: State) -> JobHandle[Any]:
    """The job once it is in this state."""
    found: list[JobHandle[Any]] = []

    def look() -> bool:
        found[:] = [job.refresh()]
        return found[0].state is state

    eventually(look)
    return found[0]


# Ends


def test_a_job_runs_and_its_result_is_kept(app: Treadle) -> None:
    """In a child process, with one attempt that says so."""
    events = listen(app)
    with working(app) as worker:
        job = app.send_function(apps.string_length, "abc")
        assert job.result(PATIENCE_S) == 3
        assert app.send_function(apps.pid).result(PATIENCE_S) != os.getpid()
    (attempt,) = job.attempts
    assert (attempt.number, attempt.worker_id, attempt.outcome) == (1, worker.id, OutcomeKind.SUCCEEDED)
    assert attempt.started_at_us is not None
    kinds = [type(event) for event in events if not isinstance(event, JobEnqueued)]
    assert kinds[0] is WorkerStarted
    assert kinds[-1] is WorkerStopped
    assert kinds.count(JobStarted) == kinds.count(JobEnded) == 2


def test_a_job_that_was_sent_before_the_worker_started_runs(app: Treadle) -> None:
    """Whoever comes first waits."""
    job = app.send_function(apps.string_length, "abc")
    with working(app):
        assert job.result(PATIENCE_S) == 3


def test_many_jobs_run_once_each(app: Treadle, tmp_path: Path) -> None:
    """Three hundred short ones, prefetched and committed in groups."""
    lines = tmp_path / "lines"
    jobs = app.send_many([apps.append_line.bind(str(lines), str(number)) for number in range(300)])
    with working(app, concurrency=2):
        for job in jobs:
            assert ended(job).state is State.SUCCEEDED
    assert sorted(map(int, lines.read_text().split())) == list(range(300))


def test_an_error_fails_the_job_with_its_reason(app: Treadle) -> None:
    """`result` raises it, with the remote traceback as its cause."""
    with working(app):
        job = app.send_function(apps.fail, "no such user")
        with pytest.raises(JobFailed, match="ValueError: no such user") as caught:
            job.result(PATIENCE_S)
    assert "in fail" in str(caught.value.__cause__)
    assert outcomes(job) == ["raised"]


def test_an_error_is_tried_again(app: Treadle, tmp_path: Path) -> None:
    """As often as the task allows, and its attempts are kept."""
    with working(app):
        job = app.send_function(apps.fail_until, str(tmp_path / "runs"), 3)
        assert job.result(PATIENCE_S) == 3
    assert outcomes(job) == ["raised", "raised", "succeeded"]
    assert [attempt.number for attempt in job.attempts] == [1, 2, 3]


def test_the_last_attempt_fails_the_job(app: Treadle, tmp_path: Path) -> None:
    """With the reason of that attempt."""
    with working(app):
        job = ended(app.send_function(apps.fail_until, str(tmp_path / "runs"), 99))
    assert job.error is not None
    assert (job.state, job.error.message, len(job.attempts)) == (State.FAILED, "run 3", 3)


def test_a_retry_waits_for_its_time(tmp_path: Path) -> None:
    """The clock decides, not the worker's patience."""
    clock = ManualClock()
    app = jobs_app(tmp_path, clock=clock)
    with working(app):
        job = in_state(app.send_function(apps.fail_and_wait), State.SCHEDULED)
        assert job.row.run_at_us >= clock.now_us() + 3600 * 1_000_000 - 1_000_000
        clock.advance(3600)
        eventually(lambda: len(job.attempts) == 2)


@pytest.mark.parametrize(
    "task",
    [
        apps.fail_with_infinite_backoff, apps.fail_with_nan_backoff, apps.fail_with_long_backoff,
        apps.fail_with_broken_backoff,
    ],
    ids=lambda task: task.__name__,
)  # fmt: skip
def test_a_bad_back_off_harms_only_its_job(app: Treadle, task: Any) -> None:
    """The job does not stay in the worker's hands, and the next one runs."""
    with working(app):
        job = app.send_function(task)
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        eventually(lambda: job.refresh().state is not State.RUNNING)
        assert outcomes(job) == ["raised"]


# What a task raises to say what becomes of its job


@pytest.mark.parametrize(
    "task",
    [apps.step_in_process, apps.step_in_thread, apps.step_soon, apps.step_inline],
    ids=lambda task: task.settings.pool,
)
def test_a_task_retries_and_snoozes_in_every_pool(app: Treadle, tmp_path: Path, task: Any) -> None:
    """A retry is an attempt; a snooze is none, also after the last but one was used up."""
    with working(app):
        job = app.send_function(task, str(tmp_path / "runs"))
        assert job.result(PATIENCE_S) == 4
    assert outcomes(job) == ["raised", "snoozed", "snoozed", "succeeded"]
    assert [attempt.number for attempt in job.attempts] == [1, 2, 2, 2]
    assert job.refresh().row.attempt == 2


def test_a_rejected_job_fails_at_once(app: Treadle) -> None:
    """With its reason, whatever attempts are left, and the worker's log says so in one line."""
    events = listen(app)
    with working(app):
        job = app.send_function(apps.reject, "no such account")
        with pytest.raises(JobFailed, match=r"failed: treadle\.errors\.Reject: no such account"):
            job.result(PATIENCE_S)
    assert outcomes(job) == ["rejected"]
    assert [event.outcome.kind for event in events if isinstance(event, JobEnded)] == [OutcomeKind.REJECTED]


def test_a_part_of_a_map_that_snoozes_holds_up_its_whole(app: Treadle, gate: Gate) -> None:
    """Which has its result in the end; no part has used its only attempt up."""
    with working(app):
        job = app.send_map(apps.snooze_until_open, [str(gate.path)] * 2, parts=2)
        eventually(lambda: any(part.attempts for part in app.jobs(state="scheduled", task=apps.snooze_until_open.name)))
        assert job.refresh().state is State.BLOCKED
        gate.open()
        assert job.result(PATIENCE_S) == [1, 1]


def test_a_part_of_a_map_that_is_rejected_fails_its_whole(app: Treadle) -> None:
    """Which names it, with the reason."""
    with working(app):
        job = ended(app.send_map(apps.reject_negative, [1, -2, 3], parts=3))
    assert job.state is State.FAILED
    assert "part 1: treadle.errors.Reject: -2 is negative" in str(job.error)


def test_a_job_that_snoozes_for_ever_can_be_cancelled(app: Treadle, tmp_path: Path) -> None:
    """Whether it waits or runs at that moment."""
    with working(app):
        job = app.send_function(apps.snooze_until_open, str(tmp_path / "never"))
        eventually(lambda: len(job.attempts) > 2)
        assert job.cancel()
        assert ended(job).state is State.CANCELLED


# Crashes


def test_a_crash_is_run_again(app: Treadle, tmp_path: Path) -> None:
    """Ready at once, with the crash counted apart from the attempts."""
    with working(app):
        job = app.send_function(apps.crash_until, str(tmp_path / "runs"), 3)
        assert job.result(PATIENCE_S) == 3
    assert outcomes(job) == ["crashed", "crashed", "succeeded"]
    assert (job.refresh().row.crashes, job.refresh().row.attempt) == (2, 1)


def test_too_many_crashes_fail_the_job(app: Treadle) -> None:
    """The reason names the signal; the worker goes on."""
    with working(app):
        job = ended(app.send_function(apps.crash))
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert (job.state, job.row.crashes) == (State.FAILED, 2)
    assert "killed by SIGKILL" in str(job.error)


def test_a_job_that_may_run_once_fails_at_its_first_crash(app: Treadle) -> None:
    """With WorkerLost, and is never run again."""
    with working(app):
        job = ended(app.send_function(apps.crash_once))
    assert job.state is State.FAILED
    assert outcomes(job) == ["crashed"]
    assert job.error is not None
    assert job.error.error_class == "treadle.errors.WorkerLost"


def test_a_crash_harms_no_other_job(app: Treadle) -> None:
    """Those prefetched behind it run, and count no crash."""
    with working(app):
        before = [app.send_function(apps.string_length, "a") for _ in range(20)]
        crashing = app.send_function(apps.crash)
        after = [app.send_function(apps.string_length, "a") for _ in range(20)]
        assert all(ended(job).state is State.SUCCEEDED for job in before + after)
        assert ended(crashing).state is State.FAILED
    assert {job.refresh().row.crashes for job in before + after} == {0}


def test_what_waits_behind_a_long_job_runs_elsewhere(app: Treadle, tmp_path: Path, gate: Gate) -> None:
    """A worker that has prefetched it lets another have it, however long the job in front of it takes."""
    with working(app):
        for job in [app.send_function(apps.string_length, "a") for _ in range(20)]:
            job.result(PATIENCE_S)
        with app.store.transaction():
            long = app.send_function(apps.wait_for.options(priority=1), str(gate.path))
            short = [app.send_function(apps.string_length, "ab") for _ in range(30)]
        eventually(lambda: all(job.refresh().row.token for job in short))
        with working(jobs_app(tmp_path)):
            assert [job.result(PATIENCE_S) for job in short] == [2] * 30
            assert long.refresh().state is State.RUNNING
            gate.open()
            assert long.wait(PATIENCE_S).state is State.SUCCEEDED


# Jobs that cannot run


def test_an_unknown_task_waits_and_then_fails(tmp_path: Path) -> None:
    """Another worker may know it: the job waits a day, and others go on."""
    clock, registry = ManualClock(), Registry()
    sender = jobs_app(tmp_path, clock=clock)
    sender.registry = registry
    unknown = registry.task(name="tests.of_tomorrow")(apps.string_length.function)
    worker_app = jobs_app(tmp_path, clock=clock)
    job = sender.send_function(unknown, "abc")
    with working(worker_app):
        assert in_state(job, State.SCHEDULED).row.attempt == 0
        assert worker_app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        clock.advance(DAY_S)
        assert ended(job).state is State.FAILED
    assert job.refresh().error is not None
    assert "no task is named 'tests.of_tomorrow' here" in str(job.refresh().error)
    assert set(outcomes(job)) == {"unknown_task"}


def test_an_undecodable_payload_fails_and_the_batch_goes_on(app: Treadle) -> None:
    """At once, with the reason, whatever attempts are left."""
    jobs = [app.send_function(apps.string_length.options(max_attempts=5), text) for text in ("a", "bb", "ccc")]
    with app.store.transaction(), app.store._connections.writing() as connection:  # type: ignore[attr-defined]
        connection.execute("UPDATE treadle_job SET payload = 'damaged' WHERE id = ?", (jobs[1].id,))
    with working(app):
        assert (jobs[0].result(PATIENCE_S), jobs[2].result(PATIENCE_S)) == (1, 3)
        assert ended(jobs[1]).state is State.FAILED
    assert outcomes(jobs[1]) == ["unfit"]
    assert "cannot read the stored JSON" in str(jobs[1].refresh().error)


def test_an_undecodable_row_does_not_stop_the_worker(app: Treadle) -> None:
    """Whatever stands in a row, the batch goes on."""
    bad = app.send_function(apps.string_length, "a")
    with app.store.transaction(), app.store._connections.writing() as connection:  # type: ignore[attr-defined]
        connection.execute("UPDATE treadle_job SET labels = 'damaged' WHERE id = ?", (bad.id,))
    good = app.send_function(apps.string_length, "abc")
    with working(app):
        assert good.result(PATIENCE_S) == 3


def test_arguments_that_no_longer_fit_fail_the_job(app: Treadle) -> None:
    """The function may have changed since."""
    job = app.send_function(apps.string_length, "a")
    with app.store.transaction(), app.store._connections.writing() as connection:  # type: ignore[attr-defined]
        connection.execute('UPDATE treadle_job SET payload = \'{"args":[],"kwargs":{}}\'')
    with working(app), pytest.raises(JobFailed, match=r"the stored arguments do not fit .*string_length"):
        job.result(PATIENCE_S)


def test_a_result_that_json_cannot_carry_fails_the_attempt(app: Treadle) -> None:
    """With the path and the type; nothing half is kept."""
    with working(app), pytest.raises(JobFailed, match=r'make_set\["rows"\]\[1\] is of type set'):
        app.send_function(apps.make_set).result(PATIENCE_S)


# Reports


def test_progress_and_messages_reach_whoever_follows(app: Treadle, gate: Gate) -> None:
    """While the job runs."""
    with working(app):
        job = app.send_function(apps.progress_and_wait, str(gate.path))
        eventually(lambda: job.refresh().progress.message == "half")
        eventually(lambda: [message.body for message in job.messages] == ["half"])
        assert job.refresh().progress.fraction == 0.5
        assert job.refresh().version > job.version
        gate.open()
        assert ended(job).state is State.SUCCEEDED


def test_all_reports_of_a_short_job_are_kept(app: Treadle) -> None:
    """The last progress and every message, although it ended at once."""
    with working(app):
        job = app.send_function(apps.count_to, 5)
        assert job.result(PATIENCE_S) == job.id
    assert (job.refresh().progress.done, job.refresh().progress.message) == (5, "step 5")
    assert [message.body for message in job.messages] == [{"counted": 5}, "done"]


@pytest.mark.parametrize(
    "task",
    [apps.report_nan, apps.report_text, apps.report_huge, apps.report_surrogate, apps.send_set],
    ids=lambda task: task.__name__,
)
def test_a_report_that_cannot_be_kept_harms_only_its_job(app: Treadle, task: Any) -> None:
    """The worker goes on, and the job ends."""
    with working(app):
        job = app.send_function(task)
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S / 4) == 3
        assert job.wait(PATIENCE_S / 4).state.is_finished


def test_a_job_is_given_its_attempt_and_its_labels(app: Treadle) -> None:
    """Through the context."""
    with working(app):
        assert app.send_function(apps.tell_attempt).result(PATIENCE_S) == 1
        labelled = apps.tell_labels.options(labels={"tenant": "acme"})
        assert app.send_function(labelled).result(PATIENCE_S) == {"tenant": "acme"}


# Pools


def test_each_pool_runs_its_tasks(app: Treadle) -> None:
    """Threads and inline in this process, coroutines in a loop."""
    with working(app):
        assert app.send_function(apps.thread_name).result(PATIENCE_S).startswith("treadle-job")
        assert app.send_function(apps.pid_inline).result(PATIENCE_S) == os.getpid()
        assert app.send_function(apps.double_soon, 3).result(PATIENCE_S) == 6
        assert app.send_function(apps.double_inline, 3).result(PATIENCE_S) == 6


def test_a_coroutine_may_report(app: Treadle) -> None:
    """As any task that takes a context."""
    with working(app):
        job = app.send_function(apps.report_soon, 3)
        assert job.result(PATIENCE_S) == 3
    assert (job.refresh().progress.done, [message.body for message in job.messages]) == (3, ["soon"])


def test_many_coroutines_run_side_by_side(app: Treadle, gate: Gate) -> None:
    """More than there are cores or threads."""
    with working(app):
        jobs = [app.send_function(apps.wait_soon_for, str(gate.path)) for _ in range(50)]
        for job in jobs:
            in_state(job, State.RUNNING)
        gate.open()
        assert all(job.result(PATIENCE_S) == "open" for job in jobs)


def test_a_full_pool_does_not_hold_up_another(app: Treadle, gate: Gate) -> None:
    """A long job in a child, and a short one in a thread."""
    with working(app):
        long = in_state(app.send_function(apps.wait_for, str(gate.path)), State.RUNNING)
        assert app.send_function(apps.thread_name).result(PATIENCE_S)
        gate.open()
        assert long.result(PATIENCE_S) == "open"


# Queues and priorities


def test_a_worker_serves_the_queues_it_is_given(app: Treadle) -> None:
    """And leaves others alone."""
    mail = app.send_function(apps.string_length.options(queue="mail"), "abc")
    other = app.send_function(apps.string_length, "abc")
    with working(app, queues=["mail"]):
        assert mail.result(PATIENCE_S) == 3
    assert other.refresh().state is State.READY


def test_urgent_jobs_run_first(app: Treadle, tmp_path: Path) -> None:
    """By priority, then in the order in which they were sent."""
    lines = tmp_path / "lines"
    jobs = [
        app.send_function(apps.append_line.options(priority=priority), str(lines), f"{priority} {number}")
        for number, priority in enumerate([0, -5, 5, 0, 5])
    ]
    with working(app):
        for job in jobs:
            ended(job)
    assert lines.read_text().splitlines() == ["5 2", "5 4", "0 0", "0 3", "-5 1"]


# send_map


def test_a_map_gives_all_results_in_order(app: Treadle) -> None:
    """Its progress counts the items."""
    with working(app, concurrency=2):
        job = app.send_map(apps.upper, [f"w{number}" for number in range(50)], parts=7)
        assert job.result(PATIENCE_S) == [f"W{number}" for number in range(50)]
    assert (job.refresh().progress.done, job.refresh().progress.total) == (50, 50)


def test_a_map_with_reduce_gives_what_that_returns(app: Treadle) -> None:
    """Called with all results."""
    with working(app):
        assert app.send_map(apps.string_length, ["a", "bb", "ccc"], reduce=apps.total).result(PATIENCE_S) == 6


def test_a_map_over_nothing_ends_at_once(app: Treadle) -> None:
    """With the empty list, or what `reduce` makes of it."""
    with working(app):
        assert app.send_map(apps.upper, []).result(PATIENCE_S) == []
        assert app.send_map(apps.upper, [], reduce=apps.join_words).result(PATIENCE_S) == ""


def test_a_map_of_an_async_task_gives_all_results(app: Treadle) -> None:
    """Its parts run as coroutines."""
    with working(app):
        assert app.send_map(apps.double_soon, [1, 2, 3]).result(PATIENCE_S) == [2, 4, 6]


def test_a_map_over_dataclasses_rebuilds_them(app: Treadle) -> None:
    """As for a single call, where the parameter is annotated."""
    with working(app):
        job = app.send_map(apps.mirror, [apps.Point(1, 2), apps.Point(3, 4)])
        assert job.result(PATIENCE_S) in ([{"x": 2, "y": 1}, {"x": 4, "y": 3}], [apps.Point(2, 1), apps.Point(4, 3)])


def test_a_failing_part_fails_the_whole_and_is_named(app: Treadle) -> None:
    """With its reason."""
    with working(app):
        job = app.send_map(apps.fail_if_negative, [1, 2, -3, 4], parts=4)
        with pytest.raises(JobFailed, match=r"1 part did not succeed; part 2: ValueError: -3 is negative"):
            job.result(PATIENCE_S)
    assert job.refresh().progress.done == 3


# Stopping


def test_a_stopping_worker_waits_for_what_runs(app: Treadle, gate: Gate) -> None:
    """It claims no more, and its acknowledgements are written."""
    worker = app.worker()
    with running(worker.run, worker.stop) as thread:
        job = in_state(app.send_function(apps.wait_for, str(gate.path)), State.RUNNING)
        waiting = app.send_function(apps.string_length, "abc")
        worker.stop()
        gate.open()
        thread.join(PATIENCE_S)
    assert job.refresh().state is State.SUCCEEDED
    assert (waiting.refresh().state, waiting.refresh().row.attempt) == (State.READY, 0)
    assert app.store.workers() == []


@pytest.mark.parametrize("task", [apps.wait_for, apps.wait_in_thread, apps.wait_soon_for], ids=lambda t: t.__name__)
def test_an_interrupted_job_is_refunded(app: Treadle, gate: Gate, task: Any) -> None:
    """Stopped at once it is ready again: no attempt, no crash, but what happened is kept."""
    events = listen(app)
    with working(app) as worker:
        job = app.send_function(task, str(gate.path))
        eventually(lambda: any(isinstance(event, JobStarted) for event in events))
        worker.stop(at_once=True)
        again = in_state(job, State.READY)
    assert (again.row.attempt, again.row.crashes, outcomes(job)) == (0, 0, ["interrupted"])
    gate.open()
    with working(app):
        assert job.result(PATIENCE_S) == "open"


def test_a_drain_that_takes_too_long_interrupts(app: Treadle, gate: Gate) -> None:
    """After `drain_s`; and no old run goes on beside the new one."""
    worker = app.worker(drain_s=0)
    started = gate.folder / "started"
    with running(worker.run, worker.stop) as thread:
        job = app.send_function(apps.announce_and_wait, str(started), str(gate.path))
        child = int(eventually(lambda: started.exists() and started.read_text()))
        worker.stop()
        thread.join(PATIENCE_S)
    assert job.refresh().state is State.READY
    assert not is_alive(child)


def test_an_interrupt_fails_a_job_that_may_run_once(app: Treadle, gate: Gate) -> None:
    """With WorkerLost."""
    with working(app) as worker:
        job = in_state(app.send_function(apps.wait_once_for, str(gate.path)), State.RUNNING)
        eventually(lambda: job.refresh().row.started_at_us)
        worker.stop(at_once=True)
        failed = in_state(job, State.FAILED)
    assert failed.error is not None
    assert failed.error.error_class == "treadle.errors.WorkerLost"


def test_a_worker_that_is_stopped_before_it_runs_ends(app: Treadle) -> None:
    """A signal may come early."""
    worker = app.worker()
    worker.stop()
    with running(worker.run, worker.stop) as thread:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_stopped_worker_leaves_nothing_behind(app: Treadle) -> None:
    """No row, no lock file, no open file."""
    app.send_function(apps.string_length, "a")
    with working(app) as worker:
        eventually(lambda: app.store.workers() != [])
        assert app.alive is not None
        assert app.alive.is_held(worker.id)
    assert app.store.workers() == []
    assert list(app.alive.path.iterdir()) == []


def test_children_that_cannot_be_started_cost_no_job(tmp_path: Path) -> None:
    """The worker ends with the reason, and the job waits for a better one."""
    app = jobs_app(tmp_path, app="tests.apps:not_an_app")
    job = app.send_function(apps.string_length, "abc")
    worker = app.worker()
    with pytest.raises(PoolBroken, match=r"tests.apps:not_an_app is a int, not a Treadle application"):
        with running(worker.run, worker.stop) as thread:
            thread.join(PATIENCE_S)
    assert (job.refresh().state, job.attempts) == (State.READY, [])


# Rescue


WORKER = """
import sys
from pathlib import Path
from tests.helpers import jobs_app
jobs_app(Path(sys.argv[1])).worker().run()
"""


def test_the_jobs_of_a_killed_worker_are_run_by_another(app: Treadle, gate: Gate, tmp_path: Path) -> None:
    """Soon, with the crash counted, and only when the old run is over."""
    events = listen(app)
    started = gate.folder / "started"
    job = app.send_function(apps.announce_and_wait, str(started), str(gate.path))
    with python("-c", WORKER, str(tmp_path)) as process:
        child = int(eventually(lambda: started.exists() and started.read_text()))
        eventually(lambda: job.refresh().row.started_at_us)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        with working(app):
            eventually(lambda: any(isinstance(event, JobsRescued) for event in events))
            assert not is_alive(child)
            gate.open()
            assert job.result(PATIENCE_S) != child
    assert outcomes(job) == ["crashed", "succeeded"]
    assert job.refresh().row.crashes == 1


class BreakableClock(ManualClock):
    """A clock that can fail in the worker's loop, as anything can."""

    is_broken = False

    def monotonic_s(self) -> float:
        if self.is_broken and threading.current_thread().name != "treadle-upkeep":
            raise RuntimeError("the clock is broken")
        return super().monotonic_s()


def test_the_jobs_of_a_worker_that_failed_are_run_by_another(app: Treadle, gate: Gate, tmp_path: Path) -> None:
    """A worker that ends by an error of its own leaves no job behind that nobody would ever take back."""
    clock = BreakableClock()
    failing = jobs_app(tmp_path, clock=clock)
    events = listen(failing)
    with pytest.raises(RuntimeError, match="the clock is broken"), working(failing):
        job = app.send_function(apps.wait_in_thread, str(gate.path))
        # Not before: what the pool's own thread tells of the start would fail, too.
        eventually(lambda: any(isinstance(event, JobStarted) for event in events))
        clock.is_broken = True
    gate.open()
    with working(app):
        assert job.result(PATIENCE_S / 2) == "open"


def test_a_late_result_is_refused(gate: Gate, tmp_path: Path) -> None:
    """A worker that was taken for dead ends nothing; the job's new run is the one that counts."""
    app = jobs_app(tmp_path, heartbeat_s=0.1)
    events = listen(app)
    with working(app) as worker:
        job = in_state(app.send_function(apps.wait_in_thread, str(gate.path)), State.RUNNING)
        app.store.rescue([worker.id], 0)
        gate.open()
        assert job.result(PATIENCE_S) == "open"
        eventually(lambda: any(isinstance(event, LateResultRefused) for event in events))
        eventually(lambda: [row.id for row in app.store.workers()] == [worker.id])
    assert outcomes(job) == ["crashed", "succeeded"]


def test_two_workers_share_the_jobs(app: Treadle, tmp_path: Path) -> None:
    """Each job runs once."""
    lines = tmp_path / "lines"
    jobs = app.send_many([apps.append_line.bind(str(lines), str(number)) for number in range(200)])
    with working(app), working(app):
        for job in jobs:
            ended(job)
    assert sorted(map(int, lines.read_text().split())) == list(range(200))


def test_a_worker_waits_for_a_store_that_is_away(app: Treadle, gate: Gate, tmp_path: Path) -> None:
    """It says so, keeps what it knows, and writes it when the store is back."""
    events = listen(app)
    with working(app):
        job = in_state(app.send_function(apps.wait_for, str(gate.path)), State.RUNNING)
        eventually(lambda: job.refresh().row.started_at_us)
        path = tmp_path / "jobs.sqlite3-writer"
        moved = path.rename(tmp_path / "away")
        path.mkdir()
        # New connections fail now; the idle ones are given up one by one.
        app.store.close()
        gate.open()
        eventually(lambda: any(isinstance(event, StoreAway) for event in events))
        path.rmdir()
        moved.rename(path)
        assert job.result(PATIENCE_S) == "open"
        eventually(lambda: any(isinstance(event, StoreBack) for event in events))
    assert outcomes(job) == ["succeeded"]
    assert [type(event) for event in events if isinstance(event, StoreAway | StoreBack)] == [StoreAway, StoreBack]


def test_a_bounded_worker_runs_everything_in_the_end(app: Treadle) -> None:
    """With so many claims a second at most."""
    jobs = [app.send_function(apps.string_length, "abc") for _ in range(30)]
    with working(app, claims_per_s=100):
        assert [job.result(PATIENCE_S) for job in jobs] == [3] * 30


def test_what_waits_in_a_pool_is_given_back_at_the_end(app: Treadle, gate: Gate) -> None:
    """With its attempt refunded, and no end recorded: it never began, even if it may run only once."""
    with working(app):
        app.send_many([apps.string_length.bind("abc")] * 20)[-1].result(PATIENCE_S)
        running_job = in_state(app.send_function(apps.wait_for, str(gate.path)), State.RUNNING)
        waiting = app.send_many([apps.string_length.options(max_crashes=0).bind("abc")] * 5)
    rows = [job.refresh().row for job in waiting]
    assert {(row.state, row.attempt, row.started_at_us) for row in rows} == {(State.READY, 0, None)}
    assert running_job.refresh().state is State.READY


def test_a_job_that_may_run_once_is_not_passed_by_many_short_ones(app: Treadle) -> None:
    """While these wait in the pool by the dozen, so that no slot is ever free, it has its turn."""
    short = app.send_many([apps.take_a_while.bind() for _ in range(600)])
    with working(app):
        short[100].wait(PATIENCE_S)
        once = app.send_function(apps.string_length.options(max_crashes=0, priority=1), "abc")
        assert once.wait(PATIENCE_S).state is State.SUCCEEDED
        assert app.store.counts()["default", State.READY] > 0


def test_an_embedded_worker_waits_for_what_it_cannot_kill(app: Treadle, gate: Gate) -> None:
    """Before it steps aside: the process lives on, and with it a thread beside which nobody may run the job."""
    worker = app.worker(kind="embedded", drain_s=0)
    with running(worker.run, lambda: worker.stop(at_once=True)):
        job = in_state(app.send_function(apps.wait_in_thread, str(gate.path)), State.RUNNING)
        worker.stop()
        with pytest.raises(TimeoutError):
            job.wait(timeout_s=0.5)
        assert (job.refresh().state, app.store.workers()[0].id) == (State.RUNNING, worker.id)
        gate.open()
        assert job.result(PATIENCE_S) == "open"
    assert outcomes(job) == ["succeeded"]


def test_a_worker_does_not_run_inside_a_transaction(tmp_path: Path) -> None:
    """Its heartbeat would wait for the transaction, and the transaction for its end."""
    app = jobs_app(tmp_path)
    with app.transaction(), pytest.raises(StoreError, match="cannot run inside a transaction"):
        app.worker().run()
