"""Worker processes on one store: what a kill, a signal and a crash leave behind."""

import os
import signal
import sqlite3
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.end_to_end.apps import core
from tests.end_to_end.jobs import lines
from tests.end_to_end.server import kill_process, needs_proc, program
from tests.helpers import eventually, is_alive

from treadle.app import Treadle
from treadle.clock import US_PER_S
from treadle.worker.upkeep import RESCUE_EVERY_S

pytestmark = needs_proc

on_both_stores = pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)

READY_AGAIN_S = 1.0
JOBS = 1000


@pytest.fixture
def app(store_url):
    """The application of `apps.core`, on the store of this test."""
    app = Treadle(store_url, registry=core.app.registry, app="tests.end_to_end.apps.core:app")
    yield app
    app.close()


def worker(folder: Path, *options: str):
    """`treadle worker run`, as long as the block lasts."""
    target = "tests.end_to_end.apps.core:app"
    return program("-m", "treadle.cli", "worker", "run", target, *options, folder=folder)


@contextmanager
def workers(jobs, folder: Path, count: int):
    """So many worker processes, all of them known to the store."""
    with ExitStack() as stack:
        started = [stack.enter_context(worker(folder)) for _ in range(count)]
        eventually(lambda: len(jobs.workers("process")) == count, 30)
        yield started


def send_short_jobs(app, journal: Path, milliseconds: int) -> None:
    app.send_many([core.run_for.bind(str(journal), milliseconds) for _ in range(JOBS)])


def hold_one(app, journal: Path, gate: Path):
    """A job that runs until the gate opens; it has begun."""
    job = app.send_function(core.hold, str(journal), str(gate))
    eventually(lambda: lines(journal))
    return job


@contextmanager
def busy_and_idle(jobs, folder: Path, journal: Path, send):
    """Two workers: the first runs the job that `send` sends, the second has nothing to do."""
    with workers(jobs, folder, 1) as [busy]:
        job = send()
        eventually(lambda: lines(journal))
        with worker(folder):
            eventually(lambda: len(jobs.workers("process")) == 2, 30)
            yield busy, job


# Many jobs, several workers


@on_both_stores
def test_two_workers_share_the_jobs(app, jobs, journal, tmp_path):
    """Two workers on one store run many jobs, each exactly once, and both have a part in it."""
    with workers(jobs, tmp_path, 2):
        send_short_jobs(app, journal, 0)
        eventually(lambda: jobs.have_succeeded(JOBS), 60)
        runs = [attempt for ended in jobs.attempts().values() for attempt in ended]
    assert len(lines(journal)) == len(runs) == JOBS
    assert jobs.accepted_once()
    assert len({run.worker_id for run in runs}) == 2


@pytest.mark.parametrize("victim", [0, 1])
def test_a_kill_in_the_middle_loses_nothing(app, jobs, journal, tmp_path, victim):
    """After `kill -9` of either of two workers in the middle, each job still ends, with one run accepted."""
    send_short_jobs(app, journal, 2)
    with workers(jobs, tmp_path, 2) as both:
        eventually(lambda: jobs.have_succeeded(JOBS // 10), 60)
        both[victim].kill()
        assert not jobs.have_succeeded(JOBS), "it was not killed in the middle"
        eventually(lambda: jobs.have_succeeded(JOBS), 60)
    assert jobs.accepted_once()
    # What the dead worker had run and not yet told the store ran again.
    assert len(lines(journal)) >= JOBS


@on_both_stores
def test_a_kill_of_all_workers_loses_nothing(app, jobs, journal, tmp_path):
    """After `kill -9` of the only worker, the next one to start finishes the jobs."""
    send_short_jobs(app, journal, 2)
    with worker(tmp_path) as only:
        eventually(lambda: jobs.have_succeeded(JOBS // 10), 60)
        only.kill()
    with worker(tmp_path), worker(tmp_path):
        eventually(lambda: jobs.have_succeeded(JOBS), 60)
    assert jobs.accepted_once()


# One job whose worker is killed


@on_both_stores
def test_jobs_of_a_killed_worker_are_ready_again_at_once(app, jobs, journal, gate, tmp_path):
    """Within 1 s of a worker's death, where another lives, its job is ready again; the crash is counted."""
    with busy_and_idle(jobs, tmp_path, journal, lambda: hold_one(app, journal, gate)) as (busy, job):
        killed_at_us = kill_process(busy.pid)
        [lost] = eventually(lambda: job.attempts)
        gate.touch()
        assert job.result(20) == "open"
    ready_after_s = (lost.ended_at_us - killed_at_us) / US_PER_S
    print(f"ready again after {ready_after_s:.3f} s")
    assert (lost.outcome, job.refresh().row.crashes) == ("crashed", 1)
    assert 0 <= ready_after_s <= READY_AGAIN_S


def test_no_old_run_goes_on_beside_the_new_one(app, jobs, journal, gate, tmp_path):
    """When a job starts again after its worker was killed, the process of its first run is dead already."""
    send = lambda: app.send_function(core.hold_or_tell, str(journal), str(gate))
    with busy_and_idle(jobs, tmp_path, journal, send) as (busy, job):
        kill_process(busy.pid)
        assert job.result(20) == []
    assert len(lines(journal)) == 1


def test_a_child_inside_c_code_dies_with_its_worker(app, jobs, journal, tmp_path):
    """A child that is in a C call which holds the GIL for days ends at once with its worker, and the job runs anew."""
    send = lambda: app.send_function(core.compute_for_ever, str(journal))
    with busy_and_idle(jobs, tmp_path, journal, send) as (busy, job):
        kill_process(busy.pid)
        eventually(lambda: not is_alive(int(lines(journal)[0])), 5)
        assert job.result(20) == []


def test_a_job_that_kills_its_process_is_tried_again_and_then_fails(app, jobs, journal, tmp_path):
    """A job whose process dies under it runs again `max_crashes` times, then fails; the worker goes on."""
    with workers(jobs, tmp_path, 1):
        job = app.send_function(core.crash, str(journal))
        after = app.send_function(core.string_length, "abc")
        assert after.result(20) == 3
        failed = job.wait(20)
    assert (failed.state, failed.row.crashes, len(set(lines(journal)))) == ("failed", 3, 3)
    assert failed.error.error_class == "treadle.errors.WorkerLost"
    assert [attempt.outcome for attempt in failed.attempts] == ["crashed"] * 3


# Signals


@on_both_stores
def test_sigterm_drains(app, jobs, journal, gate, tmp_path):
    """After SIGTERM a worker takes no further job, lets the running one end, and ends with status 0."""
    with workers(jobs, tmp_path, 1) as [only]:
        running = hold_one(app, journal, gate)
        only.signal(signal.SIGTERM)
        eventually(lambda: "takes no more jobs" in only.output)
        later = app.send_function(core.string_length, "abc")
        gate.touch()
        assert (running.result(20), only.ended(), later.refresh().state) == ("open", 0, "ready")
    assert jobs.workers() == []
    assert jobs.outcomes() == {"succeeded": 1}


@on_both_stores
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_interrupts_with_refund(app, jobs, journal, gate, tmp_path, number):
    """A second signal ends the running job at once: it is ready again, with neither attempt nor crash counted."""
    with workers(jobs, tmp_path, 1) as [only]:
        job = hold_one(app, journal, gate)
        only.signal(number)
        eventually(lambda: "takes no more jobs" in only.output)
        only.signal(number)
        assert only.ended() == 0
    row = job.refresh().row
    assert (row.state, row.attempt, row.crashes) == ("ready", 0, 0)
    assert jobs.outcomes() == {"interrupted": 1}
    assert not is_alive(int(lines(journal)[0]))


def test_a_quiet_worker_takes_no_more_jobs(app, jobs, journal, gate, tmp_path):
    """After SIGUSR1 what runs goes on and what is sent waits; SIGTERM ends the worker as ever."""
    with workers(jobs, tmp_path, 1) as [only]:
        running = hold_one(app, journal, gate)
        only.signal(signal.SIGUSR1)
        eventually(lambda: "is quiet" in only.output)
        later = app.send_function(core.string_length, "abc")
        gate.touch()
        assert (running.result(20), later.refresh().state, only.is_running) == ("open", "ready", True)
        assert only.stop() == 0
    assert later.refresh().state == "ready"


def test_a_third_signal_leaves_without_the_store(app, jobs, journal, gate, tmp_path):
    """Where the store is away and two signals were not enough, the third ends the worker, and its job is rescued."""
    with program("-m", "tests.end_to_end.apps.patient", folder=tmp_path) as only:
        job = hold_one(app, journal, gate)
        with store_locked(tmp_path):
            only.signal(signal.SIGTERM)
            eventually(lambda: "takes no more jobs" in only.output)
            only.signal(signal.SIGTERM)
            eventually(lambda: "the store is away" in only.output, 30)
            assert only.is_running
            only.signal(signal.SIGTERM)
            assert only.ended() == 0
    gate.touch()
    with worker(tmp_path):
        assert job.result(20) == "open"
    assert jobs.outcomes() == {"crashed": 1, "succeeded": 1}


@contextmanager
def store_locked(folder: Path):
    """Another program holds SQLite's own lock of the file."""
    connection = sqlite3.connect(folder / "jobs.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_worker_that_holds_its_gil_is_not_taken_for_dead(app, jobs, journal, gate, tmp_path):
    """Although its lease runs out meanwhile: it holds its lock, and another worker of the host leaves its jobs alone."""
    with (
        program("-m", "tests.end_to_end.apps.breathless", folder=tmp_path),
        program("-m", "tests.end_to_end.apps.breathless", folder=tmp_path),
    ):
        eventually(lambda: len(jobs.workers("process")) == 2, 30)
        job = app.send_function(core.hold_gil, str(journal), 2.0)
        assert job.result(20) == "held"
    assert jobs.outcomes() == {"succeeded": 1}
    assert len(lines(journal)) == 1


def test_a_worker_that_was_asleep_goes_on_with_its_job(app, jobs, journal, gate, tmp_path):
    """As on a laptop that is closed, for longer than its lease: on one host it counts as alive, and its result is kept."""
    breathless = ("-m", "tests.end_to_end.apps.breathless")
    with program(*breathless, folder=tmp_path), program(*breathless, folder=tmp_path):
        eventually(lambda: len(jobs.workers("process")) == 2, 30)
        job = hold_one(app, journal, gate)
        holder = job.refresh().row.worker_id
        [asleep, awake] = sorted(jobs.workers(), key=lambda worker: worker.id != holder)
        with stopped(asleep.pid):
            eventually(lambda: has_outlived(jobs, awake.id, asleep.id), 20)
        gate.touch()
        assert job.result(20) == "open"
    assert jobs.outcomes() == {"succeeded": 1}


@contextmanager
def stopped(pid: int):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def has_outlived(jobs, awake: str, asleep: str) -> bool:
    """Whether one worker has looked for the dead twice since the lease of the other has ended."""
    rows = {worker.id: worker for worker in jobs.workers()}
    return rows[awake].last_seen_at_us > rows[asleep].lease_until_us + 3 * RESCUE_EVERY_S * US_PER_S


def test_a_drain_has_an_end(app, jobs, journal, gate, tmp_path):
    """After `drain_s` seconds a stopping worker interrupts what still runs, with refund."""
    with program("-m", "tests.end_to_end.apps.impatient", folder=tmp_path) as only:
        job = hold_one(app, journal, gate)
        only.signal(signal.SIGTERM)
        assert only.ended() == 0
    assert (job.refresh().state, jobs.outcomes()) == ("ready", {"interrupted": 1})


def test_a_worker_may_be_stopped_before_it_has_begun(tmp_path):
    """A signal that comes while the first child still starts ends the worker as any other."""
    with worker(tmp_path) as only:
        eventually(lambda: "takes jobs" in only.output, 30)
        assert only.stop() == 0


# What is said


def test_an_application_that_is_not_there_is_one_line(tmp_path):
    """A wrong target is answered with one line and status 1."""
    with program("-m", "treadle.cli", "worker", "run", "tests.end_to_end.apps.core:ap", folder=tmp_path) as wrong:
        assert wrong.ended() == 1
        assert wrong.output == "treadle: module 'tests.end_to_end.apps.core' has no 'ap', did you mean 'app'?\n"


def test_status_shows_the_worker(app, jobs, journal, gate, tmp_path):
    """`treadle status` names the living worker, and counts the jobs."""
    with workers(jobs, tmp_path, 1) as [only]:
        hold_one(app, journal, gate)
        with program("-m", "treadle.cli", "status", "tests.end_to_end.apps.core:app", folder=tmp_path) as status:
            assert status.ended() == 0
        gate.touch()
    assert f"pid {only.pid} on" in status.output
    assert "queue   default  running 1" in status.output
