"""The framework's TaskResult of one of our jobs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.utils import timezone

from django_worker.contract import FrameworkTask, TaskError, TaskResult, TaskResultStatus
from django_worker.worker_task import DjangoRegistry, copy_with
from treadle import codec
from treadle.clock import as_datetime
from treadle.errors import ResultExpired
from treadle.handle import result_expired
from treadle.job import EXPIRED, Attempt, Job, Kind, Outcome, OutcomeKind
from treadle.states import State

STATUS = {
    State.BLOCKED: TaskResultStatus.READY,
    State.SCHEDULED: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}
"""The framework has four words for our seven."""
REFUNDED = frozenset({OutcomeKind.INTERRUPTED, OutcomeKind.UNKNOWN_TASK, OutcomeKind.SNOOZED})
"""Runs that do not count as an attempt."""


class WorkerResult(TaskResult):  # type: ignore[type-arg]  # generic in the backport only
    """The framework's result, which tells of a value that was not kept any longer."""

    __slots__ = ()

    @property
    def return_value(self) -> Any:
        """What the function returned. Raises ValueError where it has not succeeded, ResultExpired where it is gone."""
        value = super().return_value
        if isinstance(value, ResultExpired):
            raise value
        return value

    def __repr__(self) -> str:
        # A repr ends up in logs, and arguments and results may be secret.
        return f"<{type(self).__name__} {self.id} {self.task.module_path} {self.status}>"


def result_of(job: Job, attempts: Sequence[Attempt], registry: DjangoRegistry) -> "TaskResult[Any]":
    """Raises UnknownTask where the task is not found any more."""
    counted = [attempt for attempt in attempts if attempt.outcome not in REFUNDED]
    starts = [a.started_at_us for a in counted if a.started_at_us is not None]
    if job.state is State.RUNNING and job.started_at_us is not None:
        starts.append(job.started_at_us)
    args, kwargs = _arguments(job)
    result: TaskResult[Any] = WorkerResult(
        task=_task(job, registry),
        id=job.id,
        status=STATUS[job.state],
        enqueued_at=moment(job.enqueued_at_us),
        started_at=moment(min(starts, default=None)),
        finished_at=moment(job.finished_at_us),
        last_attempted_at=moment(max(starts, default=None)),
        args=args,
        kwargs=kwargs,
        backend=job.alias,
        errors=_errors(job, counted),
        worker_ids=[a.worker_id for a in counted] + ([job.worker_id] if job.worker_id else []),
    )
    if job.state is State.SUCCEEDED:
        value = result_expired(job) if job.result is None else codec.plain(job.result)
        # The field is set after the fact by the framework's own backends, too.
        object.__setattr__(result, "_return_value", value)
    return result


def ended_result_of(
    job: Job, earlier: Sequence[Attempt], outcome: Outcome, now_us: int, registry: DjangoRegistry
) -> "TaskResult[Any]":
    """The result of a run that has just ended, as the store will tell it."""
    succeeded = outcome.kind is OutcomeKind.SUCCEEDED
    last = Attempt(job.attempt, job.worker_id or "", job.started_at_us, now_us, outcome.kind, outcome.failure)
    ended = msgspec.structs.replace(
        job,
        state=State.SUCCEEDED if succeeded else State.FAILED,
        result=outcome.result,
        failure=outcome.failure,
        finished_at_us=now_us,
        worker_id=None,
    )
    return result_of(ended, [*earlier, last], registry)


def _task(job: Job, registry: DjangoRegistry) -> "FrameworkTask[..., Any]":
    """The task as it was sent: with the priority and the queue of the job."""
    task = registry.framework_task(job.task)
    if (task.priority, task.queue_name, task.backend) == (job.priority, job.queue, job.alias):
        return task
    # Not validated anew: a queue may have left the settings since.
    return copy_with(task, priority=job.priority, queue_name=job.queue, backend=job.alias)


def _arguments(job: Job) -> tuple[list[Any], dict[str, Any]]:
    if job.kind is not Kind.CALL or job.is_forgotten:
        return [], {}
    fields = codec.plain(job.payload)
    return fields["args"], fields["kwargs"]


def _errors(job: Job, attempts: Sequence[Attempt]) -> list[TaskError]:
    errors = [TaskError(exception_class_path=a.failure.error_class, traceback=a.failure.traceback or str(a.failure))
              for a in attempts if a.failure is not None]  # fmt: skip
    if job.failure is not None and job.failure.error_class == EXPIRED:
        # It never ran, or waited to be tried again: no attempt tells of it.
        errors.append(TaskError(exception_class_path=EXPIRED, traceback=str(job.failure)))
    if job.state is State.CANCELLED:
        errors.append(TaskError(exception_class_path="treadle.errors.JobCancelled", traceback="cancelled"))
    return errors


def moment(at_us: int | None) -> datetime | None:
    """A time as Django has it: aware, or with USE_TZ off naive in the time zone of the site."""
    if at_us is None:
        return None
    aware = as_datetime(at_us)
    return aware if settings.USE_TZ else timezone.make_naive(aware, timezone.get_default_timezone())
