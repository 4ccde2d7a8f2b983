"""Runs in the worker's process that go on for too long."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, working

from treadle import JobHandle, State
from treadle.events import Event, JobStarted, JobStuck, StuckJobEnded
from treadle.testing import ManualClock
from treadle.worker.standing import Standing, standing_of

AFTER_S = 50


class Scene:
    """An application with one slot for threads, whose clock the test moves."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.app = jobs_app(folder, clock=self.clock, threads=1, stuck_after_s=AFTER_S)
        self.events: list[Event] = []
        self.app.events.subscribe(self.events.append)

    def started(self, task: Any, *args: Any) -> JobHandle[Any]:
        job = self.app.send_function(task, *args)
        eventually(lambda: any(event.job.id == job.id for event in self.heard(JobStarted)))
        return job

    def heard(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def stuck(self, count: int) -> list[JobStuck]:
        """So many have been told of, after time has passed."""
        # An event loop is asked first, and must have failed to answer for so long.
        self.eventually(lambda: len(self.heard(JobStuck)) >= count)
        return self.heard(JobStuck)

    def eventually(self, condition: Callable[[], Any]) -> None:
        """It becomes true while time passes: a duty looks when it is due, and what it looks for may come just after."""

        def look() -> Any:
            self.clock.advance(AFTER_S / 4)
            return condition()

        eventually(look)

    def standing(self, worker_id: str) -> Standing | None:
        return standing_of(self.app.alive, worker_id)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_stuck_thread_is_told_of_and_its_slot_replaced(scene: Scene, gate: Gate) -> None:
    """With its stack, once; others go on, and its end counts all the same."""
    with working(scene.app) as worker:
        job = scene.started(apps.wait_in_thread, str(gate.path))
        [event] = scene.stuck(1)
        assert (event.job.id, event.is_replaced) == (job.id, True)
        assert "in wait_for" in event.stack
        assert scene.app.send_function(apps.thread_name).result(PATIENCE_S)
        scene.eventually(lambda: (said := scene.standing(worker.id)) and said.stuck == 1)
        gate.open()
        assert job.result(PATIENCE_S) == "open"
        scene.eventually(lambda: scene.standing(worker.id).stuck == 0)
    assert [event.job.id for event in scene.heard(StuckJobEnded)] == [job.id]
    assert len(scene.heard(JobStuck)) == 1


def test_only_as_many_slots_are_replaced_as_there_are(scene: Scene, gate: Gate) -> None:
    """Each stuck run holds a thread; there is an end to that."""
    with working(scene.app):
        scene.started(apps.wait_in_thread, str(gate.path))
        scene.stuck(1)
        scene.started(apps.wait_in_thread, str(gate.path))
        assert [event.is_replaced for event in scene.stuck(2)] == [True, False]
        waiting = scene.app.send_function(apps.thread_name)
        assert scene.app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        assert waiting.refresh().state is State.READY
        gate.open()
        assert waiting.result(PATIENCE_S)


def test_a_coroutine_that_blocks_its_loop_is_told_of(scene: Scene, gate: Gate) -> None:
    """Others are given a loop of their own, and those that it holds up go on when it ends."""
    with working(scene.app) as worker:
        held_up = scene.started(apps.wait_soon_for, str(gate.path))
        job = scene.started(apps.block_loop, str(gate.path))
        [event] = scene.stuck(1)
        assert event.job.id == job.id
        assert "in block_loop" in event.stack
        assert scene.app.send_function(apps.double_soon, 3).result(PATIENCE_S) == 6
        assert worker._places["coroutines"].free == scene.app.settings.coroutines
        gate.open()
        assert (job.result(PATIENCE_S), held_up.result(PATIENCE_S)) == ("open", "open")
        # The loop that was replaced is let go.
        scene.eventually(lambda: len(worker._places["coroutines"].pools) <= 1)


def test_a_coroutine_that_awaits_may_take_its_time(scene: Scene, gate: Gate) -> None:
    """It holds up nobody."""
    with working(scene.app):
        job = scene.started(apps.wait_soon_for, str(gate.path))
        scene.started(apps.wait_in_thread, str(gate.path))
        assert scene.stuck(1)[0].job.id != job.id
        scene.clock.advance(10 * AFTER_S)
        assert scene.app.send_function(apps.double_soon, 3).result(PATIENCE_S) == 6
        gate.open()
        assert job.result(PATIENCE_S) == "open"
    assert len(scene.heard(JobStuck)) == 1
