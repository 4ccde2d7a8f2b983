"""All log lines of Treadle, written from events, in one place: the logger `treadle`.

One line a fact. A traceback only where a job's own function raised for the last time, or a thread is
stuck: what is an operator's matter says what is wrong, not where we noticed it.
"""

import json
import logging
from datetime import UTC, datetime
from functools import singledispatch
from typing import Any, Literal, NamedTuple, get_args

from treadle.events import (
    DutyFailed,
    Event,
    Events,
    JobEnded,
    JobEnqueued,
    JobRetried,
    JobsExpired,
    JobsForgotten,
    JobsRescued,
    JobStarted,
    JobStuck,
    LateResultRefused,
    LeaseLost,
    MessagesDropped,
    NobodyServes,
    QueuePaused,
    QueueResumed,
    StoreAway,
    StoreBack,
    StuckJobEnded,
    WorkerDraining,
    WorkerQuiet,
    WorkerStarted,
    WorkerStopped,
)
from treadle.job import OutcomeKind
from treadle.states import State

logger = logging.getLogger("treadle")

WORDS = {
    OutcomeKind.TIMED_OUT: "ran out of time",
    OutcomeKind.OUT_OF_MEMORY: "ran out of memory",
    OutcomeKind.UNKNOWN_TASK: "has no task",
}

MOST_NAMED = 10
"""Of jobs that a line is about, so many are named."""

LogFormat = Literal["text", "json"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)


class Line(NamedTuple):
    """What a fact is logged as; the values are put into the text as `logging` does it."""

    level: int
    text: str
    values: tuple[Any, ...] = ()


def log_events(events: Events) -> None:
    """Write a line for each event from now on."""
    events.subscribe(_log)


def log_to_terminal(form: LogFormat = "text", level: int = logging.INFO) -> None:
    """For a worker process whose application configured no logging: our lines, on standard error."""
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logger.addHandler(handler)
    logger.setLevel(level)


class JsonFormatter(logging.Formatter):
    """Each record as a JSON object on a line of its own: time, level, message, and what the event is about."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        shown = {"time": moment, "level": record.levelname, "message": record.getMessage()}
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            shown |= _about(event)
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown, default=str)


def _about(event: Event) -> dict[str, Any]:
    """The fields of an event that a program may want to search for."""
    shown: dict[str, Any] = {"event": type(event).__name__}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        match name:
            case "job":
                shown |= {"job_id": value.id, "task": value.task, "queue": value.queue, "attempt": value.attempt}
            case "outcome":
                shown["outcome"] = value.kind
            case _:
                shown[name] = value
    return shown


def _log(event: Event) -> None:
    if _is_routine(event) and not logger.isEnabledFor(logging.DEBUG):
        return
    line = _line(event)
    logger.log(line.level, line.text, *line.values, extra={"event": event})


def _is_routine(event: Event) -> bool:
    """Whether it is told thousands of times a second, and only to who debugs."""
    if isinstance(event, JobEnded):
        return event.state is State.SUCCEEDED
    return isinstance(event, (JobStarted, JobEnqueued))


@singledispatch
def _line(event: Event) -> Line:
    return Line(logging.DEBUG, "%s", (event,))


@_line.register
def _(event: JobEnqueued) -> Line:
    return Line(logging.DEBUG, "job %s (%s) sent", (event.job.id, event.job.task))


@_line.register
def _(event: JobRetried) -> Line:
    return Line(logging.INFO, "job %s (%s) is sent once more", (event.job.id, event.job.task))


@_line.register
def _(event: NobodyServes) -> Line:
    text = "no live worker serves the queue %r, so what is sent there waits: start one, as with `treadle worker run`"
    return Line(logging.WARNING, text, (event.queue,))


@_line.register
def _(event: JobStarted) -> Line:
    return Line(logging.DEBUG, "job %s (%s) started, attempt %s", (event.job.id, event.job.task, event.job.attempt))


@_line.register
def _(event: JobEnded) -> Line:
    job, outcome = event.job, event.outcome
    named = (job.id, job.task)
    if event.state is State.CANCELLED:
        return Line(logging.INFO, "job %s (%s) was cancelled while it ran", named)
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            return Line(logging.DEBUG, "job %s (%s) succeeded", named)
        case OutcomeKind.SNOOZED:
            return Line(logging.DEBUG, "job %s (%s) snoozes for %.1f s", (*named, outcome.retry_after_s))
        case OutcomeKind.REJECTED:
            # The function's own decision: neither an error nor a place to look at.
            reason = outcome.failure and outcome.failure.message
            return Line(logging.WARNING, "job %s (%s) was rejected on attempt %s: %s", (*named, job.attempt, reason))
        case _:
            return _failed(event) if event.state.is_finished else _begins_again(event)


def _begins_again(event: JobEnded) -> Line:
    job, outcome = event.job, event.outcome
    named = (job.id, job.task)
    match outcome.kind:
        case OutcomeKind.INTERRUPTED:
            return Line(logging.INFO, "job %s (%s) interrupted; it will start again", named)
        case OutcomeKind.CRASHED:
            text = "job %s (%s) crashed (%s of at most %s), and starts again: %s"
            return Line(logging.WARNING, text, (*named, job.crashes + 1, job.max_crashes, outcome.failure))
        case OutcomeKind.UNKNOWN_TASK:
            return Line(logging.WARNING, "job %s waits: %s", (job.id, outcome.failure and outcome.failure.message))
        case _:
            return _retried(event)


def _retried(event: JobEnded) -> Line:
    job, outcome = event.job, event.outcome
    return Line(
        logging.INFO if outcome.kind is OutcomeKind.RAISED else logging.WARNING,
        "job %s (%s) %s on attempt %s of %s, and is tried again in %.1f s: %s",
        (
            job.id, job.task, WORDS.get(outcome.kind, outcome.kind), job.attempt, job.max_attempts,
            outcome.retry_after_s, outcome.failure,
        ),
    )  # fmt: skip


def _failed(event: JobEnded) -> Line:
    job, outcome = event.job, event.outcome
    values = (job.id, job.task, WORDS.get(outcome.kind, outcome.kind), job.attempt, outcome.failure)
    text = "job %s (%s) %s on attempt %s: %s"
    if outcome.failure is None or not outcome.failure.traceback:
        return Line(logging.ERROR, text, values)
    return Line(logging.ERROR, f"{text}\n%s", (*values, outcome.failure.traceback))


@_line.register
def _(event: JobStuck) -> Line:
    return Line(
        logging.ERROR,
        "job %s (%s) is stuck: it has run for %.0f s and cannot be ended%s; it is here:\n%s",
        (
            event.job.id, event.job.task, event.run_s,
            ", so another job gets its slot" if event.is_replaced else "", event.stack,
        ),
    )  # fmt: skip


@_line.register
def _(event: StuckJobEnded) -> Line:
    text = "job %s (%s), which was stuck, has ended after %.0f s"
    return Line(logging.WARNING, text, (event.job.id, event.job.task, event.run_s))


@_line.register
def _(event: LateResultRefused) -> Line:
    text = "late result of job %s (%s) refused: its claim was no longer valid"
    return Line(logging.WARNING, text, (event.job.id, event.job.task))


@_line.register
def _(event: JobsRescued) -> Line:
    values = (event.dead_worker_id, event.count)
    return Line(logging.WARNING, "worker %s is dead; %s of its jobs were taken back", values)


@_line.register
def _(event: QueuePaused) -> Line:
    text = "queue %s is paused: its jobs wait until it is resumed, and what runs goes on"
    return Line(logging.WARNING, text, (event.queue,))


@_line.register
def _(event: QueueResumed) -> Line:
    return Line(logging.INFO, "queue %s is resumed", (event.queue,))


@_line.register
def _(event: JobsExpired) -> Line:
    named = ", ".join(event.job_ids[:MOST_NAMED]) + (", …" if len(event.job_ids) > MOST_NAMED else "")
    count = len(event.job_ids)
    failed = "1 job has failed" if count == 1 else f"{count} jobs have failed"
    return Line(logging.WARNING, "%s that had not begun in time: %s", (failed, named))


@_line.register
def _(event: JobsForgotten) -> Line:
    # Not by which labels: these may name a person.
    text = "%s jobs were forgotten, as somebody asked by their labels; %s with these have not ended, and were left"
    return Line(logging.INFO, text, (event.forgotten, event.unfinished))


@_line.register
def _(event: WorkerStarted) -> Line:
    slots = ", ".join(f"{count} {name}" for name, count in event.slots.items())
    return Line(logging.INFO, "worker %s (%s) takes jobs: %s", (event.worker_id, event.kind, slots))


@_line.register
def _(event: WorkerQuiet) -> Line:
    text = "worker %s is quiet: it takes no more jobs, %s go on, and it ends when it is stopped"
    return Line(logging.INFO, text, (event.worker_id, event.running))


@_line.register
def _(event: WorkerDraining) -> Line:
    return Line(logging.INFO, "worker %s takes no more jobs and waits for %s", (event.worker_id, event.running))


@_line.register
def _(event: WorkerStopped) -> Line:
    return Line(logging.INFO, "worker %s has stopped", (event.worker_id,))


@_line.register
def _(event: LeaseLost) -> Line:
    text = "worker %s was taken for dead and its jobs were taken back (was this machine asleep?); it goes on"
    return Line(logging.WARNING, text, (event.worker_id,))


@_line.register
def _(event: StoreAway) -> Line:
    text = "the store is away: %s: %s; no job is taken until it is back, and what has ended is kept"
    return Line(logging.ERROR, text, (type(event.error).__name__, event.error))


@_line.register
def _(event: StoreBack) -> Line:
    return Line(logging.INFO, "the store is back after %.1f s", (event.away_s,))


@_line.register
def _(event: MessagesDropped) -> Line:
    text = "%s messages of jobs were dropped: the store was away, and more were sent than are kept"
    return Line(logging.WARNING, text, (event.count,))


@_line.register
def _(event: DutyFailed) -> Line:
    text = "%s failed and will be tried again: %s: %s"
    return Line(logging.ERROR, text, (event.duty, type(event.error).__name__, event.error))
