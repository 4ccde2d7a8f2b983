"""The duties of a worker."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.helpers import PATIENCE_S, eventually

from treadle import settings
from treadle.clock import US_PER_S
from treadle.errors import StoreUnavailable
from treadle.events import DutyFailed, Event, JobsExpired, JobsRescued, StoreAway, StoreBack
from treadle.job import Outcome
from treadle.states import State
from treadle.store.contract import WorkerRow
from treadle.store.memory import MemoryStore
from treadle.testing import ManualClock
from treadle.testing.store_contract import claim, ending, make_job, read
from treadle.worker.alive import AliveFolder
from treadle.worker.upkeep import (
    EXPIRE_AT_ONCE,
    FORGET_AT_ONCE,
    PRUNE_AT_ONCE,
    RESCUE_EVERY_S,
    Duty,
    Upkeep,
    is_dead,
)

LEASE_S, BEAT_S, DAY_S = 10, 3, 86_400


class SometimesAway(MemoryStore):
    """A store that is away when it is told so."""

    is_away = False

    def workers(self) -> list[WorkerRow]:
        self._refuse_if_away()
        return super().workers()

    def heartbeat(self, worker_id: str, now_us: int, lease_until_us: int) -> bool:
        self._refuse_if_away()
        return super().heartbeat(worker_id, now_us, lease_until_us)

    def _refuse_if_away(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")


class Scene:
    """The upkeep of a registered worker named `me`."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock()
        self.store = SometimesAway()
        self.alive: AliveFolder | None = AliveFolder(tmp_path / "alive")
        self.events: list[Event] = []
        self.announce: Callable[[Event], None] = self.events.append
        self.upkeep = self.make()
        self.store.register(self.worker("me"))

    def make(self, *also: Duty) -> Upkeep:
        chosen = settings.make({"lease_s": LEASE_S, "heartbeat_s": BEAT_S})
        return Upkeep(self.worker("me"), self.store, self.alive, chosen, self.clock, self.announce, also)

    def worker(self, name: str) -> WorkerRow:
        now_us = self.clock.now_us()
        return WorkerRow(
            id=name, host="host", pid=1, kind="process", started_at_us=now_us, last_seen_at_us=now_us,
            lease_until_us=now_us + LEASE_S * US_PER_S,
        )  # fmt: skip

    def register_far(self, off_s: int = 0) -> None:
        """A heartbeat of another host, whose clock is so many seconds off."""
        far, off_us = self.worker("far"), off_s * US_PER_S
        self.store.register(
            msgspec.structs.replace(
                far, last_seen_at_us=far.last_seen_at_us + off_us, lease_until_us=far.lease_until_us + off_us
            )
        )

    @property
    def dead(self) -> list[str]:
        """The workers that were taken for dead."""
        return [event.dead_worker_id for event in self.events if isinstance(event, JobsRescued)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_heartbeat_prolongs_the_lease(scene: Scene) -> None:
    """From now on."""
    scene.clock.advance(5)
    scene.upkeep.heartbeat()
    assert scene.store.workers()[0].lease_until_us == scene.clock.now_us() + LEASE_S * US_PER_S


def test_a_worker_that_was_taken_for_dead_registers_again(scene: Scene) -> None:
    """With a lease from now on, or it would be taken for dead once more."""
    scene.clock.advance(100)
    scene.store.deregister(["me"])
    scene.upkeep.heartbeat()
    (worker,) = scene.store.workers()
    assert worker.lease_until_us == scene.clock.now_us() + LEASE_S * US_PER_S
    assert worker.last_seen_at_us == scene.clock.now_us()


def test_jobs_that_have_not_begun_in_time_fail(scene: Scene) -> None:
    """However many they are; and it is announced, in batches."""
    now_us = scene.clock.now_us()
    jobs = [make_job(expires_at_us=now_us + US_PER_S) for _ in range(EXPIRE_AT_ONCE + 1)]
    scene.store.enqueue(jobs)
    scene.upkeep.expire()
    assert scene.events == []
    scene.clock.advance(1)
    scene.upkeep.expire()
    told = [event.job_ids for event in scene.events if isinstance(event, JobsExpired)]
    assert [len(ids) for ids in told] == [EXPIRE_AT_ONCE, 1]
    assert {id_ for ids in told for id_ in ids} == {job.id for job in jobs}
    assert {state for _, state in scene.store.counts()} == {State.FAILED}


def test_the_lease_is_prolonged_between_the_batches_of_a_duty(scene: Scene) -> None:
    """However many there are, and however long they take: nobody takes the worker for dead meanwhile."""
    scene.store.enqueue([make_job(expires_at_us=scene.clock.now_us()) for _ in range(EXPIRE_AT_ONCE + 1)])
    scene.announce = lambda event: scene.clock.advance(LEASE_S)
    scene.make().expire()
    assert scene.store.workers()[0].lease_until_us == scene.clock.now_us()


def test_results_are_dropped_when_they_were_kept_long_enough(scene: Scene) -> None:
    """However many they are."""
    scene.store.enqueue([make_job(result_ttl_us=US_PER_S) for _ in range(FORGET_AT_ONCE + 1)])
    jobs = claim(scene.store, FORGET_AT_ONCE + 1)
    scene.store.finish([ending(job, Outcome.succeeded("1"), scene.clock.now_us()) for job in jobs])
    scene.upkeep.forget_results()
    assert read(scene.store, jobs[0]).result == "1"
    scene.clock.advance(1)
    scene.upkeep.forget_results()
    assert {row.result for row in scene.store.jobs([job.id for job in jobs]).values()} == {None}


def test_due_jobs_are_promoted(scene: Scene) -> None:
    """When their time has come."""
    job = make_job(state=State.SCHEDULED, run_at_us=scene.clock.now_us() + US_PER_S)
    scene.store.enqueue([job])
    scene.upkeep.promote()
    assert read(scene.store, job).state is State.SCHEDULED
    scene.clock.advance(1)
    scene.upkeep.promote()
    assert read(scene.store, job).state is State.READY


def test_the_jobs_of_a_dead_worker_are_taken_back(scene: Scene) -> None:
    """At once where its lock is free, and it is announced."""
    scene.store.register(scene.worker("dead"))
    scene.store.enqueue([make_job()])
    (job,) = claim(scene.store, 1, worker_id="dead")
    scene.alive.path.mkdir()
    (scene.alive.path / "dead").touch()
    scene.upkeep.rescue()
    assert read(scene.store, job).state is State.READY
    assert scene.events == [JobsRescued("dead", 1)]
    assert [worker.id for worker in scene.store.workers()] == ["me"]
    assert not (scene.alive.path / "dead").exists()


def test_a_worker_does_not_rescue_from_itself(scene: Scene) -> None:
    """However late its heart beats."""
    scene.clock.advance(1000)
    scene.upkeep.rescue()
    assert [worker.id for worker in scene.store.workers()] == ["me"]


def test_a_held_lock_is_alive_whatever_the_clock_says(scene: Scene) -> None:
    """A suspended laptop, a step of the clock, a long hold of the GIL."""
    worker = scene.worker("slow")
    lock = scene.alive.claim("slow")
    assert lock is not None
    scene.clock.advance(1_000_000)
    assert not is_dead(worker, scene.alive, scene.clock.now_us())
    lock.release(remove=False)
    assert is_dead(worker, scene.alive, scene.clock.now_us())


@pytest.mark.parametrize("has_folder", [True, False])
def test_without_a_lock_the_lease_decides(scene: Scene, has_folder: bool) -> None:
    """For a worker of another host, or a store without a folder: it is dead when it was silent for so long."""
    if not has_folder:
        scene.alive = None
    upkeep = scene.make()
    scene.store.register(scene.worker("far"))
    upkeep.rescue()
    scene.clock.advance(LEASE_S)
    upkeep.rescue()
    assert scene.dead == []
    scene.clock.advance(0.001)
    upkeep.rescue()
    assert scene.dead == ["far"]


@pytest.mark.parametrize("off_s", [-3600, -8, 8, 3600])
def test_a_worker_whose_clock_is_another_is_alive_while_its_heart_beats(scene: Scene, off_s: int) -> None:
    """And dead, as soon as any other, when it beats no more: the clocks of two hosts are not compared."""
    for _ in range(10):
        scene.register_far(off_s)
        scene.clock.advance(BEAT_S)
        scene.upkeep.rescue()
    assert scene.dead == []
    scene.clock.advance(LEASE_S + 0.001)
    scene.upkeep.rescue()
    assert scene.dead == ["far"]


def test_who_begins_to_look_gives_everybody_a_lease(scene: Scene) -> None:
    """Whatever time ago the last beat was, by the clock of whoever has written it."""
    scene.register_far(-DAY_S)
    scene.upkeep.rescue()
    assert scene.dead == []
    scene.clock.advance(LEASE_S + 0.001)
    scene.upkeep.rescue()
    assert scene.dead == ["far"]


@pytest.mark.parametrize("duty", ["rescue", "heartbeat"])
def test_nobody_dies_while_the_store_is_away(scene: Scene, duty: str) -> None:
    """No heart can beat meanwhile, nor be heard: who comes back first must not take the others for dead."""
    scene.register_far()
    scene.upkeep.rescue()
    scene.clock.advance(3 * LEASE_S)
    scene.store.is_away = True
    with pytest.raises(StoreUnavailable):
        getattr(scene.upkeep, duty)()
    scene.store.is_away = False
    scene.upkeep.rescue()
    assert scene.dead == []


def test_the_jobs_of_a_lost_host_are_taken_back_within_fifteen_seconds(scene: Scene) -> None:
    """By the settings as they are where nobody chooses: a lease that was just prolonged, and the duty that looks."""
    lease_us = round(settings.make({}).lease_s * US_PER_S)
    far = msgspec.structs.replace(scene.worker("far"), lease_until_us=scene.clock.now_us() + lease_us)
    scene.store.register(far)
    scene.store.enqueue([make_job()])
    (job,) = claim(scene.store, 1, worker_id="far")
    lost_at_s = scene.clock.monotonic_s()
    scene.upkeep.rescue()
    while read(scene.store, job).state is State.RUNNING:
        scene.clock.advance(RESCUE_EVERY_S)
        scene.upkeep.rescue()
    assert scene.clock.monotonic_s() - lost_at_s <= 15


def test_a_living_worker_is_left_alone(scene: Scene) -> None:
    """Nothing is announced."""
    scene.store.register(scene.worker("other"))
    scene.upkeep.rescue()
    assert scene.events == []
    assert len(scene.store.workers()) == 2


@pytest.mark.parametrize(("age_days", "left"), [(6, 2), (8, 1), (31, 0)])
def test_finished_jobs_are_kept_as_long_as_the_settings_say(scene: Scene, age_days: int, left: int) -> None:
    """A week for those that succeeded, a month for the others."""
    scene.store.enqueue([make_job(), make_job()])
    good, bad = claim(scene.store, 2)
    now_us = scene.clock.now_us()
    failed = Outcome.raised(Outcome.interrupted().failure, None)  # type: ignore[arg-type]
    scene.store.finish([ending(good, Outcome.succeeded("1"), now_us), ending(bad, failed, now_us)])
    scene.clock.advance(age_days * DAY_S)
    scene.upkeep.prune()
    assert sum(scene.store.counts().values()) == left


def test_pruning_goes_on_until_all_is_done(scene: Scene) -> None:
    """In batches."""
    scene.store.enqueue([make_job() for _ in range(PRUNE_AT_ONCE + 1)])
    now_us = scene.clock.now_us()
    jobs = claim(scene.store, PRUNE_AT_ONCE + 1)
    scene.store.finish([ending(job, Outcome.succeeded("1"), now_us) for job in jobs])
    scene.clock.advance(100 * DAY_S)
    scene.upkeep.prune()
    assert scene.store.counts() == {}


def test_a_duty_that_fails_hinders_no_other(scene: Scene) -> None:
    """It is announced, and comes round again."""
    done = threading.Event()
    error = RuntimeError("a duty is broken")

    def fail() -> None:
        raise error

    upkeep = scene.make(Duty("broken", 0, fail), Duty("next", 0, done.set))
    upkeep.start()
    assert done.wait(PATIENCE_S)
    upkeep.stop()
    assert DutyFailed("broken", error) in scene.events


def test_duties_are_done_again_and_again(scene: Scene) -> None:
    """Each at its own pace, until the end."""
    runs: list[Any] = []
    enough = threading.Event()

    def count() -> None:
        runs.append(1)
        if len(runs) >= 3:
            enough.set()

    upkeep = scene.make(Duty("often", 0, count))
    upkeep.start()
    assert enough.wait(PATIENCE_S)
    upkeep.stop()
    assert not any(thread.name == "treadle-upkeep" for thread in threading.enumerate())


def test_a_duty_that_comes_seldom_is_soon_tried_again_where_the_store_was_away(scene: Scene) -> None:
    """Else the store would count as away, for whoever reads the log, until it comes round."""
    tries: list[float] = []

    def meet_an_absent_store() -> None:
        tries.append(scene.clock.monotonic_s())
        if len(tries) == 1:
            raise StoreUnavailable("away")

    upkeep = scene.make(Duty("seldom", 3600, meet_an_absent_store))
    upkeep.start()
    eventually(lambda: len(tries) == 2 or scene.clock.advance(0.1))
    upkeep.stop()
    away, back = [event for event in scene.events if isinstance(event, StoreAway | StoreBack)]
    assert isinstance(away, StoreAway)
    assert isinstance(back, StoreBack)
