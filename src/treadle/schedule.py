"""Schedules: calls that are sent again and again, at the times of a cron text.

A schedule is declared in code and has a row in the store, which knows up to what time it was seen to. Who moves that
time on, in one transaction with the job, has sent the tick; see `treadle.worker.scheduling`.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from treadle.clock import US_PER_S, as_us
from treadle.cron import Cron
from treadle.errors import InvalidSchedule
from treadle.task import BoundTask, Task

CatchUp = Literal["once", "skip"]

GRACE_S = 60
"""A tick that no worker saw to for so long is missed: longer than a worker takes to be replaced, and the least that lies
between two ticks of most schedules."""


class Tick(NamedTuple):
    """A time of a schedule that has come."""

    at_us: int
    is_skipped: bool = False
    """It was missed, and the schedule does not catch up: nothing is sent for it."""


class Schedule:
    """A call, and when to send it."""

    def __init__(self, cron: Cron, call: BoundTask[Any], catch_up: CatchUp, name: str) -> None:
        self.cron = cron
        self.call = call
        self.catch_up = catch_up
        self.name = name

    def next_time(self, after: datetime) -> datetime:
        """The first time after this one, as the clocks of the zone show it."""
        return self.cron.local(self.cron.next_us(as_us(after)))

    def due(self, seen_us: int, now_us: int) -> Tick | None:
        """What is to be seen to next, where all was until `seen_us`; None: nothing yet.

        Where a tick was missed, what follows until now is one tick.
        """
        first_us = self.cron.next_us(seen_us)
        missed_until_us = now_us - GRACE_S * US_PER_S
        if first_us > now_us:
            return None
        if first_us > missed_until_us:
            return Tick(first_us)
        if self.catch_up == "once":
            return Tick(self.cron.newest_us(seen_us, now_us))
        return Tick(self.cron.newest_us(seen_us, missed_until_us), is_skipped=True)

    def headers(self, tick_us: int) -> dict[str, str]:
        """What the job of a tick carries."""
        return {"schedule": self.name, "scheduled_for": self.cron.local(tick_us).isoformat()}

    def is_like(self, other: "Schedule") -> bool:
        """Whether both would send the same at the same times."""
        return self._facts == other._facts

    @property
    def _facts(self) -> tuple[Any, ...]:
        call, options = self.call, self.call.task.settings
        # Not all of them: rules and classes are other ones where their module is imported a second time.
        sent = (options.queue, options.pool, options.priority, options.labels, options.unique_key, options.run_after)
        return (self.cron.text, self.cron.timezone, self.catch_up, call.task.name, call.args, call.kwargs, sent)

    def __repr__(self) -> str:
        return f"<Schedule {self.name}: {self.cron.text} {self.cron.timezone}>"


class Schedules:
    """Those of one application, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Schedule] = {}

    def add(self, schedule: Schedule) -> Schedule:
        """Raises InvalidSchedule where another one has its name."""
        other = self._by_name.setdefault(schedule.name, schedule)
        # A module may be imported twice, and an application made twice.
        if not schedule.is_like(other):
            raise InvalidSchedule(f"two schedules are named {schedule.name!r}; give one of them another with name=")
        return other

    def __iter__(self) -> Iterator[Schedule]:
        return iter(tuple(self._by_name.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)


def make_schedule(
    cron: str,
    call: BoundTask[Any] | Task[[], Any],
    *,
    timezone: str = "UTC",
    catch_up: CatchUp = "once",
    name: str | None = None,
) -> Schedule:
    """A schedule; for the options see `treadle.Treadle.schedule`.

    Raises InvalidSchedule, and TypeError for a task that cannot be called without arguments.
    """
    bound = call.bind() if isinstance(call, Task) else call
    if not isinstance(bound, BoundTask):
        raise InvalidSchedule(f"a schedule sends a call, made by task.bind(…), or a task; got {call!r}")
    if catch_up not in get_args(CatchUp):
        raise InvalidSchedule(f"catch_up is 'once' or 'skip', got {catch_up!r}")
    times = Cron(cron, timezone)
    return Schedule(times, bound, catch_up, _name(name, f"{bound.task.name} {times.text}"))


def _name(given: Any, default: str) -> str:
    name = default if given is None else given
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise InvalidSchedule(f"the name of a schedule is a printable text, got {name!r}")
    return name
