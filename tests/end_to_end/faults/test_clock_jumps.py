"""Clocks that are wrong, or are set while work goes on."""

from datetime import timedelta

from tests.end_to_end.apps import faults
from tests.end_to_end.faults.checker import assert_nothing_is_lost, is_all_done
from tests.end_to_end.faults.conftest import TARGET
from tests.end_to_end.jobs import lines
from tests.helpers import eventually, working

from treadle.app import Treadle
from treadle.clock import US_PER_S, SystemClock

HOUR_S = 3600
DAY_S = 24 * HOUR_S
UPKEEP_ROUNDS = 8
"""Heartbeats in which a worker has looked for the dead at least once."""


class WrongClock(SystemClock):
    """The machine's clock, so many seconds off."""

    off_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.off_s * US_PER_S)


def make_app(tmp_path, clock):
    return Treadle(
        f"sqlite:///{tmp_path / 'jobs.sqlite3'}", registry=faults.app.registry, app=TARGET, concurrency=1, clock=clock,
        heartbeat_s=0.1, lease_s=1,
    )  # fmt: skip


def rounds(jobs, worker):
    """Wait until this worker has looked after everything some times."""
    seen: set[int] = set()

    def is_enough():
        seen.update(row.last_seen_at_us for row in jobs.workers() if row.id == worker.id)
        return len(seen) >= UPKEEP_ROUNDS

    eventually(is_enough, 20)


def test_a_worker_whose_clock_is_a_day_ahead_takes_nobody_for_dead(jobs, journal, gate, tmp_path):
    """On one host the kernel says who lives: a lease that seems to have ended long ago is not asked."""
    clock = WrongClock()
    right, wrong = make_app(tmp_path, SystemClock()), make_app(tmp_path, clock)
    clock.off_s = DAY_S
    with working(right), working(wrong) as other:
        job = right.send_function(faults.hold, str(journal), "held", str(gate))
        eventually(lambda: lines(journal), 20)
        rounds(jobs, other)
        assert (job.refresh().state, job.attempts, len(jobs.workers())) == ("running", [], 2)
        gate.touch()
        assert job.result(20) == "open"
    assert_nothing_is_lost(jobs, journal, [job.id])
    right.close()
    wrong.close()


def test_a_clock_that_is_set_back_and_forth_runs_nothing_twice(jobs, journal, gate, tmp_path):
    """A job goes on while the clock of its worker jumps by a day either way, and what is sent meanwhile is done."""
    clock = WrongClock()
    app = make_app(tmp_path, clock)
    with working(app) as worker:
        held = app.send_function(faults.hold, str(journal), "held", str(gate))
        eventually(lambda: lines(journal), 20)
        sent = [held.id]
        for clock.off_s in (DAY_S, -DAY_S, 0):
            rounds(jobs, worker)
            sent.append(app.send_function(faults.work, str(journal), str(clock.off_s), 0).id)
        gate.touch()
        eventually(lambda: is_all_done(jobs), 20)
    assert_nothing_is_lost(jobs, journal, sent)
    assert jobs.outcomes() == {"succeeded": 4}
    app.close()


def test_a_job_for_later_waits_for_the_wall_clock(jobs, journal, tmp_path):
    """Set back, the clock makes it wait for longer; set forward past its time, it runs at once; and once."""
    clock = WrongClock()
    app = make_app(tmp_path, clock)
    later = faults.work.options(run_after=timedelta(hours=1))
    with working(app) as worker:
        job = app.send_function(later, str(journal), "later", 0)
        clock.off_s = -DAY_S
        rounds(jobs, worker)
        assert job.refresh().state == "scheduled"
        clock.off_s = 2 * HOUR_S
        assert job.result(20) == "later"
    assert_nothing_is_lost(jobs, journal, [job.id])
    app.close()
