"""`django_worker.backend.WorkerBackend`: the backend to name in `TASKS`."""

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_worker import checks as our_checks
from django_worker.contract import (
    BaseTaskBackend,
    FrameworkTask,
    InvalidTask,
    TaskResult,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)
from django_worker.results import result_of
from django_worker.site import DjangoTreadle, options_of, site
from django_worker.worker_task import WorkerTask
from treadle.errors import ConfigurationError, JobNotFound, UnknownTask


class WorkerBackend(BaseTaskBackend):
    """Keeps the whole contract: deferring, priorities, async tasks, results from any process.

    There is one object for each thread; what they share is `django_worker.site`.
    """

    task_class = WorkerTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True
    is_treadle = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Raises ImproperlyConfigured for an unknown option or a wrong value."""
        super().__init__(alias, params)
        try:
            options_of(params)
        except ConfigurationError as error:
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: {error}") from error

    @property
    def treadle(self) -> DjangoTreadle:
        return site(self.alias)

    def validate_task(self, task: "FrameworkTask[..., Any]") -> None:
        """Raises InvalidTask where the framework or Treadle refuses the task."""
        super().validate_task(task)
        try:
            self.treadle.registry.core(task)
        except ConfigurationError as error:
            raise InvalidTask(str(error)) from error

    def enqueue(self, task: "FrameworkTask[..., Any]", args: Any, kwargs: Any) -> "TaskResult[Any]":
        """Send a call with what the framework takes, which is JSON; NaN and keys that are no strings are refused.

        Inside `transaction.atomic` the call is sent with the commit, and gone with a rollback. Where an unfinished job
        of the task has its `unique_key`, the result is that job's, and nothing is sent.
        """
        self.validate_task(task)
        treadle = self.treadle
        call = treadle.registry.core(task).bind(*normalize_json(args), **normalize_json(kwargs))
        (draft,) = treadle.drafts([call])
        (job,) = treadle.enqueue([draft])
        if job.id != draft.id:
            return result_of(job, treadle.store.attempts([job.id]).get(job.id, []), treadle.registry)
        result = result_of(job, [], treadle.registry)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> "TaskResult[Any]":
        """Raises TaskResultDoesNotExist, also for an id that could be none."""
        try:
            job = self.treadle.job(result_id)
            return result_of(job.row, job.attempts, self.treadle.registry)
        except (JobNotFound, UnknownTask) as error:
            raise TaskResultDoesNotExist(result_id) from error

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        yield from our_checks.check_alias(self.alias, self.options)
