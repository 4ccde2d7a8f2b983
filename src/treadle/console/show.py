"""Workers, queues and jobs as lines of text, and as plain values for JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from treadle import codec
from treadle.app import Treadle
from treadle.clock import US_PER_S, SystemClock, as_datetime
from treadle.handle import JobHandle
from treadle.job import Job
from treadle.redaction import shown_arguments
from treadle.schedule import Schedule
from treadle.states import State
from treadle.store.contract import ScheduleRow
from treadle.task import Task
from treadle.worker.scheduling import is_of
from treadle.worker.standing import Standing, standing_of
from treadle.worker.upkeep import is_dead

Counts = Mapping[tuple[str, State], int]


class ShownWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as a person or a health check wants to know it."""

    id: str
    kind: str
    host: str
    pid: int
    queues: tuple[str, ...]
    seen_s_ago: float
    is_alive: bool
    standing: Standing | None
    """What it says of itself; None for one of another host."""


def workers_of(app: Treadle) -> list[ShownWorker]:
    now_us = SystemClock().now_us()
    return [
        ShownWorker(
            id=worker.id,
            kind=worker.kind,
            host=worker.host,
            pid=worker.pid,
            queues=worker.queues,
            seen_s_ago=max(0.0, (now_us - worker.last_seen_at_us) / US_PER_S),
            is_alive=not is_dead(worker, app.alive, now_us),
            standing=standing_of(app.alive, worker.id),
        )
        for worker in app.store.workers()
    ]


def worker_lines(workers: Sequence[ShownWorker]) -> Iterator[str]:
    for worker in workers:
        seen = f"seen {worker.seen_s_ago:.0f} s ago"
        yield f"worker  {worker.id}  {worker.kind}  pid {worker.pid} on {worker.host}  {seen}{_state_of(worker)}"
    if not workers:
        yield "no worker is known"


def _state_of(worker: ShownWorker) -> str:
    if not worker.is_alive:
        return "  dead"
    if worker.standing is None:
        return ""
    stuck = f"  {worker.standing.stuck} stuck" if worker.standing.stuck else ""
    return f"  {worker.standing.doing}  {worker.standing.running} running{stuck}"


class ShownSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as a person wants to know it; times are those of its zone."""

    name: str
    cron: str
    timezone: str
    task: str
    next_at: str | None
    """None for one that the code declares no longer: nothing is sent for it."""
    last_at: str | None
    last_job_id: str | None


def schedules_of(app: Treadle) -> list[ShownSchedule]:
    """Those that are declared, and those that once were and the store still knows."""
    rows = {row.name: row for row in app.store.schedules()}
    declared = [_declared(schedule, rows.pop(schedule.name, None)) for schedule in app.find_schedules()]
    return sorted((*declared, *map(_undeclared, rows.values())), key=lambda schedule: schedule.name)


def _declared(schedule: Schedule, row: ScheduleRow | None) -> ShownSchedule:
    cron = schedule.cron
    # Where no worker has seen to it as it is now, it begins with the next one.
    is_seen_to = row is not None and is_of(row, schedule)
    seen_us = row.seen_at_us if row is not None and is_seen_to else SystemClock().now_us()
    return ShownSchedule(
        name=schedule.name,
        cron=cron.text,
        timezone=cron.timezone,
        task=schedule.call.task.name,
        next_at=cron.local(cron.next_us(seen_us)).isoformat(),
        last_at=cron.local(row.seen_at_us).isoformat() if row is not None and row.last_job_id else None,
        last_job_id=row.last_job_id if row is not None else None,
    )


def _undeclared(row: ScheduleRow) -> ShownSchedule:
    return ShownSchedule(
        name=row.name,
        cron=row.cron,
        timezone=row.timezone,
        task=row.task,
        next_at=None,
        last_at=_moment(row.seen_at_us) if row.last_job_id else None,
        last_job_id=row.last_job_id,
    )


def schedule_lines(schedules: Sequence[ShownSchedule]) -> Iterator[str]:
    for schedule in schedules:
        coming = f"next {schedule.next_at}" if schedule.next_at else "the code declares it no longer"
        last = f"  last {schedule.last_at} as {schedule.last_job_id}" if schedule.last_job_id else ""
        yield f"schedule  {schedule.name}  {schedule.cron}  {schedule.timezone}  {coming}{last}"


def queue_lines(counts: Counts, paused: Mapping[str, Any]) -> Iterator[str]:
    for queue, states in by_queue(counts, paused).items():
        mark = "  paused" if queue in paused else ""
        yield f"queue   {queue}{mark}{''.join(f'  {state} {count}' for state, count in states.items())}"


def by_queue(counts: Counts, paused: Iterable[str]) -> dict[str, dict[str, int]]:
    """The states of each queue in the order of a job's life; of a paused one also where it has no jobs."""
    queues = sorted({queue for queue, _ in counts} | set(paused))
    return {queue: {str(s): counts[queue, s] for s in State if (queue, s) in counts} for queue in queues}


def job_line(job: Job, now_us: int) -> str:
    """One job in a list; of its error the class only, since a message may hold anything."""
    error = f"  {job.failure.error_class.removeprefix('builtins.')}" if job.failure else ""
    attempts = f"attempt {job.attempt}/{job.max_attempts}"
    return (
        f"{job.id}  {job.state:<9}  {job.task}  {job.queue}  {attempts}  sent {_ago(job.enqueued_at_us, now_us)}{error}"
    )


def job_fields(job: Job) -> dict[str, Any]:
    """The same for a program."""
    return {
        "id": job.id,
        "state": str(job.state),
        "task": job.task,
        "queue": job.queue,
        "pool": job.pool,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "crashes": job.crashes,
        "labels": job.labels,
        "worker": job.worker_id,
        "enqueued_at": _moment(job.enqueued_at_us),
        "started_at": _moment(job.started_at_us),
        "finished_at": _moment(job.finished_at_us),
        "error_class": job.failure.error_class if job.failure else None,
    }


def job_page(handle: JobHandle[Any], task: Task[..., Any] | None, *, with_payload: bool) -> Iterator[str]:
    """Everything about one job; `task` says which arguments are shown nowhere."""
    job = handle.row
    for name, value in job_fields(job).items():
        if value not in (None, {}):
            yield f"{name:<13} {value}"
    yield f"{'progress':<13} {job.progress.done:g} of {job.progress.total or '?'}  {job.progress.message}".rstrip()
    yield f"{'arguments':<13} {_arguments(job, task) if with_payload or job.is_forgotten else _hidden(job.payload)}"
    if job.result is not None:
        yield f"{'result':<13} {job.result if with_payload else _hidden(job.result)}"
    elif job.state is State.SUCCEEDED:
        yield f"{'result':<13} gone: it was {'forgotten' if job.is_forgotten else 'not kept any longer'}"
    for attempt in handle.attempts:
        reason = f"  {attempt.failure}" if attempt.failure else ""
        ended = _moment(attempt.ended_at_us)
        yield f"attempt {attempt.number}  {attempt.outcome}  ended {ended}  on {attempt.worker_id}{reason}"
    for message in handle.messages:
        yield f"message {message.number}  {_moment(message.sent_at_us)}  {codec.dump_plain(message.body)}"
    if job.failure is not None:
        yield f"error         {job.failure}"
        yield from job.failure.traceback.splitlines()


def _arguments(job: Job, task: Task[..., Any] | None) -> str:
    """What may be shown of the arguments, as JSON."""
    return "gone: they were forgotten" if job.is_forgotten else codec.dump_plain(shown_arguments(job.payload, task))


def as_plain(value: msgspec.Struct | Sequence[msgspec.Struct]) -> Any:
    """What JSON can say, of our records."""
    return msgspec.to_builtins(value)


def age(seconds: float) -> str:
    """A duration as people say it."""
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _ago(moment_us: int, now_us: int) -> str:
    return f"{age(max(0.0, (now_us - moment_us) / US_PER_S))} ago"


def _moment(moment_us: int | None) -> str | None:
    return None if moment_us is None else as_datetime(moment_us).isoformat(timespec="milliseconds")


def _hidden(text: str) -> str:
    return f"{len(text)} characters, shown with --payload"
