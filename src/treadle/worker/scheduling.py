"""Sends what schedules say, when its time has come: a duty of every worker.

No worker leads. All know when the next tick is due, and touch the store only then. Whoever moves the schedule's row
on from where it was sends the job, in that same transaction; for the others it is there no more. So each tick is sent
once, also where a commit's answer is lost, where a worker dies in the middle, and where a clock goes back: what a row
was seen to is never seen to again.
"""

from collections.abc import Callable, Iterable, Sequence

from treadle.clock import US_PER_S, Clock
from treadle.cron import Cron
from treadle.errors import InvalidSchedule, StoreError
from treadle.events import Event, JobEnqueued, JobsExpired
from treadle.job import Job
from treadle.schedule import GRACE_S, Schedule, Tick
from treadle.store.contract import ScheduleRow, Store
from treadle.worker.upkeep import Duty

LOOK_EVERY_S = 0.25
"""How late a tick may be sent: a look at the clock, together with the other duties of a worker."""

UNREADABLE_S = 86_400
"""After so long a schedule whose times this version cannot read is taken for one that nobody sees to."""


class Scheduling:
    """The schedules of one application, as one worker sees to them."""

    def __init__(
        self,
        schedules: Iterable[Schedule],
        store: Store,
        make_job: Callable[[Schedule, Tick], Job],
        clock: Clock,
        announce: Callable[[Event], None],
    ) -> None:
        self._schedules = tuple(schedules)
        self._store = store
        self._make_job = make_job
        self._clock = clock
        self._announce = announce
        self._seen_us: dict[str, int] = {}
        self._due_us = 0
        self._is_declared = False

    def duty(self) -> Duty:
        return Duty("send what is scheduled", LOOK_EVERY_S, self.look)

    def look(self) -> None:
        """Send what is due."""
        now_us = self._clock.now_us()
        if now_us < self._due_us:
            return
        if not self._is_declared:
            self._declare(self._schedules, now_us)
            self._is_declared = True
        self._see_to_all(now_us)

    def _see_to_all(self, now_us: int) -> None:
        """Each of them, though another cannot be sent: that one is tried again with the next look."""
        rows = self._rows(now_us)
        due_us, errors = [], []
        for schedule in self._schedules:
            try:
                due_us.append(self._see_to(schedule, rows[schedule.name], now_us))
            except StoreError:
                raise
            except Exception as error:
                error.add_note(f"so nothing is sent for the schedule {schedule.name!r}")
                errors.append(error)
        if errors:
            raise errors[0]
        self._due_us = min(due_us)

    def _rows(self, now_us: int) -> dict[str, ScheduleRow]:
        """The rows of our schedules; what somebody has deleted goes on from where we know that it was."""
        rows = {row.name: row for row in self._store.schedules()}
        missing = [schedule for schedule in self._schedules if schedule.name not in rows]
        return rows | {row.name: row for row in self._declare(missing, now_us)}

    def _declare(self, schedules: Sequence[Schedule], now_us: int) -> list[ScheduleRow]:
        made = [self._new_row(schedule, now_us) for schedule in schedules]
        if made:
            self._store.keep_schedules(made)
        return made

    def _new_row(self, schedule: Schedule, now_us: int) -> ScheduleRow:
        return ScheduleRow(
            name=schedule.name,
            cron=schedule.cron.text,
            timezone=schedule.cron.timezone,
            task=schedule.call.task.name,
            seen_at_us=self._seen_us.get(schedule.name, now_us),
        )

    def _see_to(self, schedule: Schedule, row: ScheduleRow, now_us: int) -> int:
        """Send each tick of a schedule that is due, and return when to look again."""
        if not is_of(row, schedule):
            # Another version of the code has declared it anew, and runs: it is no longer ours, while somebody sees to it.
            if now_us < (left_us := left_at_us(row)):
                return left_us
            (row,) = self._declare([schedule], now_us)
        seen_us = row.seen_at_us
        while tick := schedule.due(seen_us, now_us):
            if not self._send(schedule, seen_us, tick):
                return now_us  # Another worker was quicker: where it has got to, the next look tells.
            seen_us = tick.at_us
        self._seen_us[schedule.name] = seen_us
        return schedule.cron.next_us(seen_us)

    def _send(self, schedule: Schedule, seen_us: int, tick: Tick) -> bool:
        """Move the schedule on to a tick, and send its job; False: somebody else has moved it."""
        job = None if tick.is_skipped else self._make_job(schedule, tick)
        try:
            with self._store.transaction():
                # What has the unique key of the call already is the job of this tick, too.
                done = self._store.enqueue([job] if job else [])
                kept = done.stand_ins.get(job.id, job) if job else None
                if not self._store.move_schedule(schedule.name, seen_us, tick.at_us, kept.id if kept else None):
                    raise _Overtaken
        except _Overtaken:
            return False
        if done.expired:
            self._announce(JobsExpired(done.expired))
        if job is not None and kept is job:
            self._announce(JobEnqueued(job))
        return True


class _Overtaken(Exception):
    """Takes back what was sent for a tick that another worker has seen to."""


def left_at_us(row: ScheduleRow) -> int:
    """When nobody sees to a schedule any more as its row has it, if it is not moved on until then.

    An old worker may have been started once more while the last of the new ones began, and be gone since.
    """
    try:
        due_us = Cron(row.cron, row.timezone).next_us(row.seen_at_us)
    except InvalidSchedule:
        # Times that only the other version understands.
        due_us = row.seen_at_us + UNREADABLE_S * US_PER_S
    return due_us + GRACE_S * US_PER_S


def is_of(row: ScheduleRow, schedule: Schedule) -> bool:
    """Whether a row was made for a schedule as it is declared here."""
    return (row.cron, row.timezone) == (schedule.cron.text, schedule.cron.timezone)
