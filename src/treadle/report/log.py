"""All log lines of Treadle, written from events, in one place: the logger `treadle`."""

import logging
from functools import singledispatch

from treadle.events import (
    DutyFailed,
    Event,
    Events,
    JobEnded,
    JobEnqueued,
    JobsRescued,
    JobStarted,
    LateResultRefused,
    WorkerDraining,
    WorkerStarted,
    WorkerStopped,
)
from treadle.job import UNANSWERED, OutcomeKind

logger = logging.getLogger("treadle")

WORDS = {OutcomeKind.TIMED_OUT: "ran out of time", OutcomeKind.OUT_OF_MEMORY: "ran out of memory"}


def log_events(events: Events) -> None:
    """Write a line for each event from now on."""
    events.subscribe(_log)


def log_to_terminal(level: int = logging.INFO) -> None:
    """For a worker process whose application configured no logging: our lines, on standard error."""
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)


def _log(event: Event) -> None:
    _line(event)


@singledispatch
def _line(event: Event) -> None:
    logger.debug("%s", event)


@_line.register
def _(event: JobEnqueued) -> None:
    logger.debug("job %s (%s) sent", event.job.id, event.job.task)


@_line.register
def _(event: JobStarted) -> None:
    logger.debug("job %s (%s) started, attempt %s", event.job.id, event.job.task, event.job.attempt)


@_line.register
def _(event: JobEnded) -> None:
    job, outcome = event.job, event.outcome
    will_retry = outcome.retry_after_s is not None and job.attempt < job.max_attempts
    is_cut_off = will_retry or outcome.kind in UNANSWERED
    if outcome.kind is OutcomeKind.SUCCEEDED:
        logger.debug("job %s (%s) succeeded", job.id, job.task)
    elif outcome.kind is OutcomeKind.CANCELLED or (is_cut_off and job.cancel_requested_at_us is not None):
        logger.info("job %s (%s) was cancelled while it ran", job.id, job.task)
    elif outcome.kind is OutcomeKind.INTERRUPTED:
        logger.info("job %s (%s) interrupted; it will start again", job.id, job.task)
    elif will_retry:
        level = logging.INFO if outcome.kind is OutcomeKind.RAISED else logging.WARNING
        logger.log(level, "job %s (%s) %s on attempt %s of %s, and is tried again in %.1f s: %s", job.id, job.task,
                   WORDS.get(outcome.kind, outcome.kind), job.attempt, job.max_attempts, outcome.retry_after_s,
                   outcome.failure)  # fmt: skip
    elif outcome.kind is OutcomeKind.UNKNOWN_TASK:
        logger.warning("job %s waits: %s", job.id, outcome.failure and outcome.failure.message)
    else:
        logger.error(
            "job %s (%s) %s on attempt %s: %s\n%s", job.id, job.task, WORDS.get(outcome.kind, outcome.kind),
            job.attempt, outcome.failure, outcome.failure.traceback if outcome.failure else "",
        )  # fmt: skip


@_line.register
def _(event: LateResultRefused) -> None:
    logger.warning("late result of job %s (%s) refused: its claim was no longer valid", event.job.id, event.job.task)


@_line.register
def _(event: JobsRescued) -> None:
    logger.warning("worker %s is dead; %s of its jobs were taken back", event.dead_worker_id, event.count)


@_line.register
def _(event: WorkerStarted) -> None:
    slots = ", ".join(f"{count} {name}" for name, count in event.slots.items())
    logger.info("worker %s (%s) takes jobs: %s", event.worker_id, event.kind, slots)


@_line.register
def _(event: WorkerDraining) -> None:
    logger.info("worker %s takes no more jobs and waits for %s", event.worker_id, event.running)


@_line.register
def _(event: WorkerStopped) -> None:
    logger.info("worker %s has stopped", event.worker_id)


@_line.register
def _(event: DutyFailed) -> None:
    logger.error("%s failed and will be tried again: %s: %s", event.duty, type(event.error).__name__, event.error)
