"""What a store ought to hold: the meaning of its verbs, without tables, transactions or threads.

`store_machine` does each verb on a store and here, and compares. A row here is changed in place, and the end of
a run is written down a second time, apart from `treadle.job.Ending`: what both get wrong alike nobody would see.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

from msgspec.structs import replace

from treadle.clock import US_PER_S
from treadle.job import REASK_UNKNOWN_TASK_S, UNANSWERED, Claim, Job, Kind, Outcome, OutcomeKind, Progress, Report
from treadle.states import NOT_STARTED, State
from treadle.store.contract import Forgotten, ScheduleRow

UNKNOWN_TASK_S = 3600.0
"""How long a job waits here for a worker that knows its task."""
NOT_COUNTED = (OutcomeKind.UNKNOWN_TASK, OutcomeKind.SNOOZED)
"""Runs after which a job waits, its attempt refunded."""


@dataclass
class Row:
    """One job, as it should be."""

    sent: Job
    state: State
    run_at_us: int
    progress: Progress
    max_attempts: int
    expires_at_us: int | None = None
    attempt: int = 0
    crashes: int = 0
    token: int = 0
    worker_id: str | None = None
    started_at_us: int | None = None
    finished_at_us: int | None = None
    is_unwanted: bool = False
    """Somebody has asked to cancel it while it ran."""
    result: str | None = None
    is_forgotten: bool = False
    redriven_at_us: int | None = None
    messages: int = 0
    outcomes: list[OutcomeKind] = field(default_factory=list)
    """How its accepted runs ended."""

    @property
    def claim(self) -> Claim:
        return Claim(self.sent.id, self.token)

    @property
    def sent_at_us(self) -> int:
        return self.redriven_at_us or self.sent.enqueued_at_us

    def restart(self, now_us: int) -> None:
        """Be sent once more, with the attempts that were."""
        self.state, self.run_at_us, self.redriven_at_us = State.READY, now_us, now_us
        self.max_attempts = max(self.max_attempts, self.attempt + 1)
        self.crashes, self.started_at_us, self.finished_at_us = 0, None, None
        self.is_unwanted, self.progress, self.expires_at_us = False, Progress(), None

    def is_late(self, now_us: int) -> bool:
        return self.expires_at_us is not None and self.expires_at_us <= now_us

    def leave(self, state: State, now_us: int) -> None:
        """Leave the worker, for a state that is not `running`."""
        self.state, self.worker_id = state, None
        self.finished_at_us = now_us if state.is_finished else None
        if not state.is_finished:
            self.started_at_us = None


class StoreModel:
    """The verbs, each with what it should answer."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.workers: set[str] = set()
        self.paused: dict[str, int] = {}
        self.schedules: dict[str, ScheduleRow] = {}

    def enqueue(self, jobs: Iterable[Job]) -> tuple[dict[str, str], set[str]]:
        """Which job stands in for each that is not kept, and which have expired; wholes come before their parts."""
        stand_ins: dict[str, str] = {}
        expired: set[str] = set()
        for job in jobs:
            late = [row for row in self._all(partial(_is_twin, job)) if row.is_late(job.enqueued_at_us)]
            late = [row for row in late if row.state in NOT_STARTED]
            self._expire(late, job.enqueued_at_us)
            expired |= {row.sent.id for row in late}
            twins = self._all(partial(_is_twin, job))
            if twins or job.group_id in stand_ins:
                stand_ins[job.id] = twins[0].sent.id if twins else stand_ins[job.group_id or ""]
                continue
            start = Progress(0, job.size) if job.kind is Kind.WHOLE else Progress()
            self.rows[job.id] = Row(job, job.state, job.run_at_us, start, job.max_attempts, job.expires_at_us)
        return stand_ins, expired

    def cancel(self, ids: Sequence[str], now_us: int) -> set[str]:
        wanted = [row for row in self._all(lambda row: not row.state.is_finished) if row.sent.id in ids]
        parts = [part for row in wanted if row.state in NOT_STARTED for part in self._parts(row.sent.id)]
        self.cancel_open([*wanted, *parts], now_us)
        self._settle(wanted, now_us)
        return {row.sent.id for row in wanted}

    def cancel_open(self, rows: Sequence[Row], now_us: int) -> None:
        for row in rows:
            if row.state in NOT_STARTED:
                row.leave(State.CANCELLED, now_us)
            row.is_unwanted |= row.state is State.RUNNING

    def redrive(self, ids: Sequence[str], now_us: int) -> set[str]:
        wanted = self._all(lambda row: row.sent.id in ids and row.sent.group_id is None and _has_gone_wrong(row))
        # One after the other: of several with one unique key the first has it then.
        return {row.sent.id for row in sorted(wanted, key=lambda row: row.sent.id) if self._redrive(row, now_us)}

    def _redrive(self, row: Row, now_us: int) -> bool:
        parts = self._parts(row.sent.id)
        bad = [part for part in parts if _has_gone_wrong(part)]
        good = [part for part in parts if part.result is not None]
        is_whole = row.sent.kind is Kind.WHOLE
        size = sum(part.sent.size for part in (*bad, *good) if not part.is_forgotten)
        if row.is_forgotten or (is_whole and size != row.sent.size):
            return False
        if self._all(partial(_is_twin, row.sent)):
            return False
        for each in (row, *bad):
            each.restart(now_us)
        if is_whole:
            row.progress = Progress(sum(part.sent.size for part in good), row.sent.size)
            row.state = State.BLOCKED if bad else State.READY
        return True

    def claim(
        self, worker_id: str, limit: int, now_us: int, *, queues: Sequence[str] = (), starts: bool
    ) -> list[Claim]:
        def urgency(row: Row) -> tuple[int, int, int, str]:
            return (
                queues.index(row.sent.queue) if queues else 0, -row.sent.priority, row.run_at_us, row.sent.id,
            )  # fmt: skip

        def may_run(row: Row) -> bool:
            is_served = (not queues or row.sent.queue in queues) and row.sent.queue not in self.paused
            is_served = is_served and worker_id in self.workers and not row.is_late(now_us)
            return row.state is State.READY and is_served

        claimed = self._in_turn(sorted(self._all(may_run), key=urgency), starts=starts)[:limit]
        for row in claimed:
            row.state, row.worker_id = State.RUNNING, worker_id
            row.token += 1
            row.attempt += 1
            row.started_at_us = now_us if starts else None
        return [row.claim for row in claimed]

    def _in_turn(self, rows: Iterable[Row], *, starts: bool) -> list[Row]:
        """Of one key one, and none while another runs. Such a job does not wait in a pool, nor does one that may run once,
        nor what comes after it.
        """
        running = {row.sent.concurrency_key for row in self._all(lambda row: row.state is State.RUNNING)}
        firsts: dict[str, Row] = {}
        for row in rows:
            key = row.sent.concurrency_key
            if key is None or key not in running:
                firsts.setdefault(key or row.sent.id, row)
        wanted = list(firsts.values())
        return wanted if starts else list(takewhile(_may_wait, wanted))

    def mark_started(self, claim: Claim, now_us: int) -> None:
        for row in self._held(claim):
            row.started_at_us = now_us

    def report(self, report: Report) -> None:
        may_tell = (State.RUNNING, State.SUCCEEDED)
        for row in self._all(lambda row: row.claim == report.claim and row.state in may_tell and not row.is_forgotten):
            row.progress = report.progress or row.progress
            row.messages += len(report.messages)

    def finish(self, run: Job, outcome: Outcome, now_us: int) -> bool:
        """Whether the end of this run is accepted."""
        for row in self._held(run.claim):
            self._end(row, run.started_at_us, outcome, now_us)
            return True
        return False

    def release(self, claim: Claim, now_us: int) -> None:
        for row in self._held(claim):
            row.attempt -= 1
            row.leave(State.CANCELLED if row.is_unwanted else State.READY, now_us)
            row.started_at_us = None
            self._settle([row], now_us)

    def rescue(self, worker_id: str, now_us: int) -> set[str]:
        """The ids of those that count a crash."""
        held = self._all(lambda row: row.worker_id == worker_id)
        started = [row for row in held if row.started_at_us is not None]
        for row in held:
            if row in started:
                self._end(row, row.started_at_us, Outcome(OutcomeKind.CRASHED), now_us)
            else:
                self.release(row.claim, now_us)
        self.workers.discard(worker_id)
        return {row.sent.id for row in started}

    def deregister(self, worker_id: str) -> None:
        if not self._all(lambda row: row.worker_id == worker_id):
            self.workers.discard(worker_id)

    def promote(self, now_us: int) -> int:
        due = self._all(lambda row: row.state is State.SCHEDULED and row.run_at_us <= now_us)
        for row in due:
            row.state = State.READY
        return len(due)

    def expire(self, now_us: int) -> set[str]:
        late = self._all(lambda row: row.state in NOT_STARTED and row.is_late(now_us))
        self._expire(late, now_us)
        return {row.sent.id for row in late}

    def _expire(self, late: Sequence[Row], now_us: int) -> None:
        for row in late:
            row.leave(State.FAILED, now_us)
        self.cancel_open([part for row in late for part in self._parts(row.sent.id)], now_us)
        self._settle(late, now_us)

    def forget_results(self, now_us: int) -> int:
        """A result of None is that of a job whose result was forgotten."""

        def is_old(row: Row) -> bool:
            ttl_us = row.sent.result_ttl_us
            is_kept_on = row.result is None or ttl_us is None or row.sent.group_id is not None
            return not is_kept_on and (row.finished_at_us or 0) + (ttl_us or 0) <= now_us

        old = self._all(is_old)
        for row in old:
            for each in (row, *self._parts(row.sent.id)):
                each.result = None
        return len(old)

    def keep_schedule(self, new: ScheduleRow) -> None:
        """One that is there goes on from where it is; with other times it never goes back."""
        old = self.schedules.get(new.name)
        if old is not None:
            is_same = (old.cron, old.timezone) == (new.cron, new.timezone)
            seen_at_us = old.seen_at_us if is_same else max(old.seen_at_us, new.seen_at_us)
            new = replace(new, seen_at_us=seen_at_us, last_job_id=old.last_job_id)
        self.schedules[new.name] = new

    def move_schedule(self, name: str, seen_at_us: int, to_us: int, job_id: str | None) -> bool:
        """Whether it was where who moves it has seen it."""
        row = self.schedules.get(name)
        if row is None or row.seen_at_us != seen_at_us:
            return False
        self.schedules[name] = replace(row, seen_at_us=to_us, last_job_id=job_id or row.last_job_id)
        return True

    def forget(self, ids: Sequence[str]) -> Forgotten:
        wanted = self._all(lambda row: row.sent.id in ids and not row.is_forgotten)
        ended = [row for row in wanted if row.state.is_finished and not self._is_needed(row)]
        for row in ended:
            row.is_forgotten, row.result, row.messages = True, None, 0
            row.progress = Progress(row.progress.done, row.progress.total)
        return Forgotten(len(ended), len(wanted) - len(ended))

    def _is_needed(self, row: Row) -> bool:
        whole = self.rows.get(row.sent.group_id or "")
        return whole is not None and not whole.state.is_finished

    def pause(self, queue: str, now_us: int) -> set[str]:
        new = {queue} - self.paused.keys()
        self.paused = {**dict.fromkeys(new, now_us), **self.paused}
        return new

    def resume(self, queue: str) -> set[str]:
        return {queue} if self.paused.pop(queue, None) is not None else set()

    def old(self, succeeded_before_us: int, failed_before_us: int) -> dict[str, int]:
        """What may be pruned, and when it ended."""

        def is_old(row: Row) -> bool:
            before_us = succeeded_before_us if row.state is State.SUCCEEDED else failed_before_us
            return row.finished_at_us is not None and row.finished_at_us < before_us and not self._is_needed(row)

        return {row.sent.id: row.finished_at_us or 0 for row in self._all(is_old)}

    def part_results(self, whole_id: str) -> list[str]:
        parts = sorted(self._parts(whole_id), key=lambda row: row.sent.part)
        return [part.result for part in parts if part.result is not None]

    def _end(self, row: Row, started_at_us: int | None, outcome: Outcome, now_us: int) -> None:
        kind = outcome.kind
        state = _state_after(row, started_at_us, outcome, now_us)
        row.outcomes.append(kind)
        row.attempt -= state is State.READY or (state is State.SCHEDULED and kind in NOT_COUNTED)
        row.crashes += kind is OutcomeKind.CRASHED
        if row.is_unwanted and (not state.is_finished or kind in UNANSWERED):
            state = State.CANCELLED
        if state is State.SCHEDULED:
            row.run_at_us = now_us + _wait_us(row, outcome, now_us)
        row.started_at_us = started_at_us
        row.leave(state, now_us)
        if state is State.SUCCEEDED:
            row.result = outcome.result
            for whole in self._wholes([row]):
                whole.progress = Progress(whole.progress.done + row.sent.size, whole.progress.total)
        self._settle([row], now_us)

    def _settle(self, rows: Iterable[Row], now_us: int) -> None:
        """A whole whose last part has ended leaves `blocked`."""
        for whole in self._wholes(rows):
            states = {part.state for part in self._parts(whole.sent.id)}
            if whole.state is not State.BLOCKED or not all(state.is_finished for state in states):
                continue
            if states <= {State.SUCCEEDED}:
                whole.state, whole.run_at_us = State.READY, now_us
            else:
                whole.leave(State.FAILED, now_us)

    def _wholes(self, parts: Iterable[Row]) -> list[Row]:
        ids = {part.sent.group_id for part in parts}
        return self._all(lambda row: row.sent.id in ids)

    def _parts(self, whole_id: str) -> list[Row]:
        return self._all(lambda row: row.sent.group_id == whole_id)

    def _held(self, claim: Claim) -> list[Row]:
        """The row of a claim that holds still, or nothing."""
        return self._all(lambda row: row.state is State.RUNNING and row.claim == claim)

    def _all(self, fits: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self.rows.values() if fits(row)]


def _is_twin(job: Job, row: Row) -> bool:
    """Whether the job of this row has the unique key of another."""
    is_same = job.unique_key is not None and (job.task, job.unique_key) == (row.sent.task, row.sent.unique_key)
    return is_same and not row.state.is_finished


def _may_wait(row: Row) -> bool:
    return row.sent.concurrency_key is None and row.sent.max_crashes > 0


def _has_gone_wrong(row: Row) -> bool:
    return row.state in (State.FAILED, State.CANCELLED)


def _state_after(row: Row, started_at_us: int | None, outcome: Outcome, now_us: int) -> State:
    """Where the end of a run leads, for a job that nobody wants to cancel."""
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            return State.SUCCEEDED
        case OutcomeKind.CANCELLED:
            return State.CANCELLED
        case OutcomeKind.RAISED | OutcomeKind.TIMED_OUT | OutcomeKind.OUT_OF_MEMORY:
            is_tried_again = outcome.retry_after_s is not None and row.attempt < row.max_attempts
            return State.SCHEDULED if is_tried_again else State.FAILED
        case OutcomeKind.SNOOZED:
            return State.SCHEDULED
        case OutcomeKind.CRASHED:
            return State.READY if row.crashes < row.sent.max_crashes else State.FAILED
        case OutcomeKind.INTERRUPTED:
            may_have_run = row.sent.max_crashes == 0 and started_at_us is not None
            return State.FAILED if may_have_run else State.READY
        case OutcomeKind.UNKNOWN_TASK:
            is_patient = now_us - row.sent_at_us < UNKNOWN_TASK_S * US_PER_S
            return State.SCHEDULED if is_patient else State.FAILED
        case _:
            return State.FAILED


def _wait_us(row: Row, outcome: Outcome, now_us: int) -> int:
    if outcome.kind is not OutcomeKind.UNKNOWN_TASK:
        return round((outcome.retry_after_s or 0) * US_PER_S)
    shortest_s, longest_s = REASK_UNKNOWN_TASK_S
    return min(max(now_us - row.sent_at_us, shortest_s * US_PER_S), longest_s * US_PER_S)
