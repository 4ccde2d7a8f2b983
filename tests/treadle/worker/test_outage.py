"""The store goes away and comes back."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, running, working

from treadle import State
from treadle.errors import StoreError, StoreLocked
from treadle.events import DutyFailed, Event, JobStarted, StoreAway, StoreBack
from treadle.job import Job
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle.testing import ManualClock
from treadle.worker.outage import Outage


class RemovableFile(SqliteFile):
    """A file that nobody in this process can reach, from when the test says so."""

    is_away = False
    tries = 0

    def reading(self) -> AbstractContextManager[Any]:
        self._refuse()
        return super().reading()

    def writing(self) -> AbstractContextManager[Any]:
        self._refuse()
        return super().writing()

    def _refuse(self) -> None:
        if self.is_away:
            self.tries += 1
            raise StoreLocked("somebody else holds the lock")


class Scene:
    """A worker's application whose store can be taken away, and a sender's that always reaches it."""

    def __init__(self, folder: Path) -> None:
        self.sender = jobs_app(folder)
        self.app = jobs_app(folder, deliver_s=0)
        self.file = RemovableFile(folder / "jobs.sqlite3")
        self.app.__dict__["worker_store"] = SqliteStore(self.file)
        self.sender.store.counts()
        self.events: list[Event] = []
        self.app.events.subscribe(self.events.append)

    def heard(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def started(self, task: Any, *args: Any) -> Any:
        before = self.heard(JobStarted)
        job = self.sender.send_function(task, *args)
        eventually(lambda: self.heard(JobStarted) > before)
        return job


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.file.is_away = False


def test_what_ends_while_the_store_is_away_is_delivered(scene: Scene, gate: Gate) -> None:
    """Nothing is claimed meanwhile, what runs goes on, and it is told once that the store went and once that it came."""
    with working(scene.app):
        job = scene.started(apps.wait_in_thread, str(gate.path))
        scene.file.is_away = True
        later = scene.sender.send_function(apps.string_length, "abc")
        gate.open()
        # Several tries, of the loop and of the duties.
        eventually(lambda: scene.file.tries > 6)
        assert (job.refresh().state, later.refresh().state) == (State.RUNNING, State.READY)
        scene.file.is_away = False
        assert (job.result(PATIENCE_S), later.result(PATIENCE_S)) == ("open", 3)
        eventually(lambda: scene.heard(StoreBack))
    assert (scene.heard(StoreAway), scene.heard(StoreBack), scene.heard(DutyFailed)) == (1, 1, 0)


def test_a_worker_that_is_stopped_meanwhile_waits_to_deliver(scene: Scene, gate: Gate, tmp_path: Path) -> None:
    """As long as `deliver_s` says."""
    scene.app = jobs_app(tmp_path, deliver_s=PATIENCE_S)
    scene.app.__dict__["worker_store"] = SqliteStore(scene.file)
    scene.app.events.subscribe(scene.events.append)
    worker = scene.app.worker()
    with running(worker.run, worker.stop) as thread:
        job = scene.started(apps.wait_in_thread, str(gate.path))
        scene.file.is_away = True
        worker.stop()
        gate.open()
        eventually(lambda: scene.file.tries > 3)
        scene.file.is_away = False
        thread.join(PATIENCE_S)
    assert job.refresh().state is State.SUCCEEDED
    assert scene.sender.store.workers() == []


def test_a_worker_that_cannot_deliver_leaves_the_jobs_to_be_rescued(scene: Scene, gate: Gate) -> None:
    """It stays known, so that another takes them back."""
    with working(scene.app):
        job = scene.started(apps.wait_for, str(gate.path))
        scene.file.is_away = True
    assert job.refresh().state is State.RUNNING
    gate.open()
    with working(scene.sender):
        assert job.result(PATIENCE_S) == "open"


def test_a_worker_that_must_leave_does_not_wait(scene: Scene, gate: Gate, tmp_path: Path) -> None:
    """However long it might try to deliver."""
    scene.app = jobs_app(tmp_path, deliver_s=3600)
    scene.app.__dict__["worker_store"] = SqliteStore(scene.file)
    scene.app.events.subscribe(scene.events.append)
    worker = scene.app.worker()
    with running(worker.run, worker.leave) as thread:
        scene.started(apps.wait_in_thread, str(gate.path))
        scene.file.is_away = True
        worker.stop(at_once=True)
        tries = scene.file.tries
        eventually(lambda: scene.file.tries > tries + 2)
        assert thread.is_alive()


def test_a_worker_may_start_before_its_store_is_there(scene: Scene) -> None:
    """It waits, and says so once."""
    scene.file.is_away = True
    worker = scene.app.worker()
    with running(worker.run, lambda: worker.stop(at_once=True)):
        eventually(lambda: scene.file.tries > 3)
        scene.file.is_away = False
        assert scene.sender.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert scene.heard(StoreAway) == 1


class ForgetfulStore(SqliteStore):
    """A store whose answer to the first claim is lost on the way, after the commit."""

    has_forgotten = False

    def claim(self, *args: Any, **options: Any) -> list[Job]:
        claimed = super().claim(*args, **options)
        if claimed and not self.has_forgotten:
            self.has_forgotten = True
            raise StoreError("the connection was lost")
        return claimed


def test_a_claim_whose_answer_was_lost_is_given_back(scene: Scene, tmp_path: Path) -> None:
    """Else the job would be this worker's for ever, and nobody would run it."""
    scene.app.__dict__["worker_store"] = ForgetfulStore(SqliteFile(tmp_path / "jobs.sqlite3"))
    with working(scene.app):
        job = scene.sender.send_function(apps.string_length, "abc")
        assert job.result(PATIENCE_S) == 3
    row = job.refresh().row
    assert (row.token, row.attempt, row.crashes) == (2, 1, 0)


# Who is told


def test_an_outage_is_over_when_all_that_failed_get_through() -> None:
    """On a full disk looks succeed and writes do not."""
    clock, events = ManualClock(), []
    outage = Outage("w", clock, events.append)
    error = StoreError("away")
    for who in ("write", "look", "write"):
        with pytest.raises(StoreError), outage.watching(who):
            raise error
    clock.advance(7)
    with outage.watching("look"):
        pass
    assert (outage.is_on, events) == (True, [StoreAway("w", error)])
    with outage.watching("write"):
        pass
    assert (outage.is_on, events[1:]) == (False, [StoreBack("w", 7)])


def test_an_error_of_another_kind_is_no_outage() -> None:
    """It is raised, and nobody takes the store for away."""
    outage = Outage("w", ManualClock(), print)
    with pytest.raises(ZeroDivisionError), outage.watching("loop"):
        raise ZeroDivisionError
    assert not outage.is_on
