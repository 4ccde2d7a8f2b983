"""Workers of several hosts: no lock tells who is alive, only the heartbeats in the store."""

from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive, jobs_app, working

from treadle import State, Treadle
from treadle.events import Event, JobsRescued, JobStarted, LateResultRefused, LeaseLost
from treadle.testing import ManualClock

LEASE_S, ASLEEP_S = 10, 11


class Host:
    """A machine with a clock of its own, which stands still while the machine is asleep."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.app: Treadle = jobs_app(folder, clock=self.clock, lease_s=LEASE_S, threads=1)
        self.app.__dict__["alive"] = None
        self.events: list[Event] = []
        self.app.events.subscribe(self.events.append)

    def heard(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def live_until(self, kind: type[Any]) -> None:
        """Let time pass here until something of this kind is told."""
        eventually(lambda: self.heard(kind) or self.clock.advance(0.1))

    def begin(self, task: Any, *args: Any) -> Any:
        job = self.app.send_function(task, *args)
        eventually(lambda: self.heard(JobStarted))
        return job


@pytest.fixture
def asleep(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def awake(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_worker_that_slept_too_long_is_refused_and_goes_on(asleep: Host, awake: Host, gate: Gate) -> None:
    """Its jobs run elsewhere; it registers anew, its old run's end changes nothing, and it takes further jobs."""
    with working(asleep.app) as worker:
        job = asleep.begin(apps.wait_in_thread, str(gate.path))
        with working(awake.app):
            awake.live_until(JobStarted)
            assert [event.dead_worker_id for event in awake.heard(JobsRescued)] == [worker.id]
            asleep.clock.advance(ASLEEP_S)
            eventually(lambda: asleep.heard(LeaseLost))
            assert worker.id in [row.id for row in asleep.app.store.workers()]
            gate.open()
            assert job.result(PATIENCE_S) == "open"
            eventually(lambda: asleep.heard(LateResultRefused))
        assert asleep.app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert [str(attempt.outcome) for attempt in job.attempts] == ["crashed", "succeeded"]
    assert len(asleep.heard(LeaseLost)) == 1


def test_its_old_runs_are_ended(asleep: Host, awake: Host, gate: Gate) -> None:
    """In a child process: nothing of it goes on beside the new run."""
    started = gate.folder / "started"
    with working(asleep.app):
        job = asleep.begin(apps.announce_and_wait, str(started), str(gate.path))
        old = int(eventually(lambda: started.exists() and started.read_text()))
        with working(awake.app):
            awake.live_until(JobStarted)
            assert is_alive(old)
            asleep.clock.advance(ASLEEP_S)
            eventually(lambda: not is_alive(old))
            gate.open()
            assert job.result(PATIENCE_S) != old
    assert job.refresh().state is State.SUCCEEDED


def test_a_worker_whose_heart_beats_is_left_alone(asleep: Host, awake: Host, gate: Gate) -> None:
    """As long as its lease holds, also on the clock of another host."""
    with working(asleep.app), working(awake.app, queues=["other"]):
        job = asleep.begin(apps.wait_in_thread, str(gate.path))
        for _ in range(5):
            asleep.clock.advance(LEASE_S / 2)
            awake.clock.advance(LEASE_S / 2)
            now_us = asleep.clock.now_us()
            eventually(lambda: all(row.last_seen_at_us >= now_us for row in asleep.app.store.workers()))
        gate.open()
        assert job.result(PATIENCE_S) == "open"
    assert awake.heard(JobsRescued) == asleep.heard(JobsRescued) == []
