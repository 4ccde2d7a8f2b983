"""A worker's duty towards the schedules."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import apps
from tests.helpers import eventually, jobs_app, working

from treadle.clock import US_PER_S
from treadle.errors import InvalidTask, StoreError
from treadle.events import Event, JobEnqueued
from treadle.job import Job
from treadle.schedule import Schedule, Tick, make_schedule
from treadle.states import State
from treadle.store.contract import Query, Store
from treadle.store.memory import MemoryStore
from treadle.testing import ManualClock
from treadle.testing.store_contract import make_job
from treadle.worker.scheduling import Scheduling

DAY_S = 86_400


class SteppedClock(ManualClock):
    """One that somebody sets back."""

    def go_back(self, seconds: float) -> None:
        with self._lock:
            self._elapsed_us -= round(seconds * US_PER_S)


class Scene:
    """A store, a clock that stands at midnight, and any number of workers that see to schedules."""

    def __init__(self) -> None:
        self.store: Store = MemoryStore()
        self.clock = SteppedClock()
        self.events: list[Event] = []

    def worker(self, *schedules: Schedule) -> Callable[[], None]:
        """A look of a worker that was started now."""
        return Scheduling(schedules, self.store, _job, self.clock, self.events.append).look

    def jobs(self) -> list[Job]:
        return self.store.find(Query(newest_first=False))

    def sent(self) -> list[str]:
        """The ticks that were sent, in order."""
        return [job.headers["scheduled_for"].removesuffix("+00:00") for job in self.jobs()]


def _job(schedule: Schedule, tick: Tick) -> Job:
    return make_job(headers=schedule.headers(tick.at_us), enqueued_at_us=tick.at_us)


def _keyed_job(schedule: Schedule, tick: Tick) -> Job:
    return make_job(unique_key="k")


def daily(cron: str = "0 3 * * *", **options: Any) -> Schedule:
    return make_schedule(cron, apps.string_length.bind("abc"), **{"name": "daily", **options})


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_schedule_begins_with_the_first_worker_that_knows_it(scene: Scene) -> None:
    """What would have come before is not sent."""
    scene.clock.advance(5 * 3600)
    look = scene.worker(daily())
    look()
    assert scene.sent() == []
    scene.clock.advance(DAY_S)
    look()
    assert scene.sent() == ["2026-01-02T03:00:00"]


def test_a_job_that_has_the_key_of_the_call_is_that_of_the_tick(scene: Scene) -> None:
    """Nothing new is sent while it is unfinished, and the schedule names it as the last."""
    waiting = make_job(unique_key="k")
    scene.store.enqueue([waiting])
    look = Scheduling([daily()], scene.store, _keyed_job, scene.clock, scene.events.append).look
    look()
    scene.clock.advance(DAY_S)
    look()
    assert [job.id for job in scene.jobs()] == [waiting.id] == [row.last_job_id for row in scene.store.schedules()]
    assert scene.events == []


def test_each_tick_is_sent_once_however_many_workers_look(scene: Scene) -> None:
    """And however often; the job says which schedule sent it and for when, and is announced."""
    looks = [scene.worker(daily()) for _ in range(3)]
    for _ in range(3 * 24):
        for look in looks:
            look()
        scene.clock.advance(3600)
    assert scene.sent() == [f"2026-01-0{day}T03:00:00" for day in (1, 2, 3)]
    assert scene.jobs()[0].headers["schedule"] == "daily"
    assert [event.job.id for event in scene.events if isinstance(event, JobEnqueued)] == [j.id for j in scene.jobs()]


def test_who_loses_the_race_sends_nothing(scene: Scene) -> None:
    """Another worker moves the schedule after we have looked at its row."""
    ours = scene.worker(daily())
    ours()
    scene.clock.advance(DAY_S)

    def outrun(schedule: Schedule, tick: Tick) -> Job:
        scene.worker(daily())()
        return _job(schedule, tick)

    Scheduling([daily()], scene.store, outrun, scene.clock, scene.events.append).look()
    ours()
    assert scene.sent() == ["2026-01-01T03:00:00"]


def test_the_store_is_touched_only_when_something_is_due(scene: Scene) -> None:
    """Looks in between look at the clock."""
    look = scene.worker(daily())
    look()
    store, scene.store.schedules = scene.store.schedules, lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    scene.clock.advance(3 * 3600 - 1)
    look()
    scene.store.schedules = store  # type: ignore[method-assign]
    scene.clock.advance(1)
    look()
    assert len(scene.sent()) == 1


def test_a_tick_whose_job_could_not_be_sent_is_sent_later(scene: Scene) -> None:
    """A store that fails in the middle has neither moved the schedule nor kept the job."""
    look = scene.worker(daily())
    look()
    scene.clock.advance(3 * 3600)
    enqueue, scene.store.enqueue = scene.store.enqueue, _fail  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        look()
    scene.store.enqueue = enqueue  # type: ignore[method-assign]
    look()
    assert scene.sent() == ["2026-01-01T03:00:00"]


def _fail(*args: Any) -> None:
    raise StoreError("it is full")


@pytest.mark.parametrize(("catch_up", "sent"), [("once", ["2026-01-09T03:00:00"]), ("skip", [])])
def test_what_was_missed_is_caught_up_with_as_the_schedule_says(scene: Scene, catch_up: Any, sent: list[str]) -> None:
    """After a week without a worker."""
    scene.worker(daily(catch_up=catch_up))()
    scene.clock.advance(8 * DAY_S + 4 * 3600)
    look = scene.worker(daily(catch_up=catch_up))
    look()
    look()
    assert scene.sent() == sent


def test_a_clock_that_goes_back_sends_nothing_twice(scene: Scene) -> None:
    """Neither the worker whose clock it is nor one that starts then; both go on when the time has come again."""
    look = scene.worker(daily("* * * * *"))
    for _ in range(3):
        look()
        scene.clock.advance(60)
    scene.clock.go_back(90)
    late = scene.worker(daily("* * * * *"))
    for _ in range(4):
        look()
        late()
        scene.clock.advance(30)
    assert scene.sent() == [f"2026-01-01T00:0{minute}:00" for minute in (1, 2, 3)]


def test_another_cron_text_begins_anew(scene: Scene) -> None:
    """From now, for the name that it has; and nothing comes at the old times any more."""
    old = scene.worker(daily())
    old()
    scene.clock.advance(2 * 3600)
    new = scene.worker(daily("0 4 * * *"))
    for _ in range(48):
        new()
        old()
        scene.clock.advance(3600)
    assert scene.sent() == ["2026-01-01T04:00:00", "2026-01-02T04:00:00"]


def test_a_schedule_that_old_code_has_taken_back_is_not_lost(scene: Scene) -> None:
    """An old worker was started once more after the new one, and is gone: its next tick shows that nobody sees to it."""
    new = scene.worker(daily("0 4 * * *"))
    new()
    scene.worker(daily("0 3 * * *"))()
    for _ in range(5 * 60):
        scene.clock.advance(60)
        new()
    assert scene.sent() == ["2026-01-01T04:00:00"]


def test_a_schedule_that_old_code_still_sees_to_is_left_to_it(scene: Scene) -> None:
    """Else both would take it from each other for ever."""
    new = scene.worker(daily("0 4 * * *"))
    new()
    old = scene.worker(daily("0 3 * * *"))
    for _ in range(5 * 60):
        old()
        new()
        scene.clock.advance(60)
    assert scene.sent() == ["2026-01-01T03:00:00"]


def test_a_schedule_with_times_that_nobody_can_read_is_taken_back_after_a_day(scene: Scene) -> None:
    """Newer code has declared it in a way that this one does not know, and is gone; what was missed is caught up with."""
    look = scene.worker(daily())
    look()
    (row,) = scene.store.schedules()
    scene.store.keep_schedules([msgspec.structs.replace(row, cron="each day", seen_at_us=scene.clock.now_us())])
    for _ in range(3 * 24):
        scene.clock.advance(3600)
        look()
    assert scene.sent() == ["2026-01-01T03:00:00", "2026-01-02T03:00:00", "2026-01-03T03:00:00"]


def test_a_schedule_that_cannot_be_sent_keeps_no_other_from_being_sent(scene: Scene) -> None:
    """It says what is wrong, and sends its tick when it can."""
    broken = {"broken"}

    def job_of(schedule: Schedule, tick: Tick) -> Job:
        if schedule.name in broken:
            raise InvalidTask("it expires before it runs")
        return _job(schedule, tick)

    schedules = [daily(name="broken"), daily(name="sound")]
    look = Scheduling(schedules, scene.store, job_of, scene.clock, scene.events.append).look
    look()
    scene.clock.advance(3 * 3600)
    with pytest.raises(InvalidTask) as caught:
        look()
    assert caught.value.__notes__ == ["so nothing is sent for the schedule 'broken'"]
    assert [job.headers["schedule"] for job in scene.jobs()] == ["sound"]
    broken.clear()
    look()
    assert sorted(job.headers["schedule"] for job in scene.jobs()) == ["broken", "sound"]


def test_a_schedule_that_is_no_longer_declared_sends_nothing(scene: Scene) -> None:
    """Its row stays."""
    scene.worker(daily(), daily(name="other"))()
    look = scene.worker(daily(name="other"))
    look()
    scene.clock.advance(3 * 3600)
    look()
    assert [job.headers["schedule"] for job in scene.jobs()] == ["other"]
    assert [row.name for row in scene.store.schedules()] == ["daily", "other"]


def test_a_schedule_whose_row_was_deleted_goes_on_from_where_it_was(scene: Scene) -> None:
    """A worker that lives knows it still."""
    look = scene.worker(daily())
    look()
    scene.clock.advance(2 * 3600)
    scene.store.forget_schedules(["daily"])
    scene.clock.advance(3600)
    look()
    assert scene.sent() == ["2026-01-01T03:00:00"]


# In a worker


def test_a_worker_sends_and_runs_what_is_scheduled(tmp_path: Path) -> None:
    """With the options of the task; what runs is told for when it was sent."""
    app = jobs_app(tmp_path)
    app.schedule("* * * * * *", apps.told_headers.options(priority=7, pool="threads"), name="often")
    with working(app):
        row = eventually(lambda: app.jobs(state="succeeded"))[0]
    assert row.result()["schedule"] == "often"
    assert datetime.fromisoformat(row.result()["scheduled_for"]).microsecond == 0
    assert (row.row.priority, row.row.pool) == (7, "threads")


@pytest.mark.parametrize("mode", ["immediate", "collect"])
def test_in_the_modes_of_tests_nothing_is_sent_by_itself(tmp_path: Path, mode: str) -> None:
    """Not by a worker, either."""
    app = jobs_app(tmp_path, mode=mode, database_url="memory://")
    app.schedule("* * * * * *", apps.by_name)
    assert app._scheduling() == ()
    app.run_pending()
    assert app.jobs() == []


def test_a_schedule_that_could_not_be_sent_is_refused(tmp_path: Path) -> None:
    """At declaration: its queue is none of those that the settings list."""
    app = jobs_app(tmp_path, queues=("default",))
    with pytest.raises(InvalidTask, match="unknown queue 'mial'"):
        app.schedule("0 3 * * *", apps.by_name.options(queue="mial"))
    assert len(app.schedules) == 0


def test_a_scheduled_job_is_sent_with_the_options_of_its_task(tmp_path: Path) -> None:
    """As `send_function` would: a run_after puts it off."""
    app = jobs_app(tmp_path, clock=ManualClock())
    call = apps.string_length.options(run_after=timedelta(hours=1), labels={"tenant": "acme"}).bind("abc")
    schedule = app.schedule("0 3 * * *", call)
    job = app._scheduled_job(schedule, Tick(0))
    assert (job.state, job.run_at_us - job.enqueued_at_us) == (State.SCHEDULED, 3600 * US_PER_S)
    assert (job.labels, job.headers["scheduled_for"]) == ({"tenant": "acme"}, "1970-01-01T00:00:00+00:00")
