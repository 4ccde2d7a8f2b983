"""`django_worker.backend.WorkerBackend`: the backend to name in `TASKS`."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

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
from django_worker.worker_task import WorkerTask, copy_with
from treadle.errors import ConfigurationError, JobNotFound, UnknownTask
from treadle.job import Job


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
        # The framework's own check knows no delay, although its documentation allows one.
        delays = isinstance(task.run_after, timedelta)
        super().validate_task(copy_with(task, run_after=None) if delays else task)
        try:
            self.treadle.registry.core(task)
        except ConfigurationError as error:
            raise InvalidTask(str(error)) from error

    def enqueue(self, task: "FrameworkTask[..., Any]", args: Any, kwargs: Any) -> "TaskResult[Any]":
        """Send a call with what the framework takes, which is JSON; NaN and keys that are no strings are refused.

        Inside `transaction.atomic` the call is sent with the commit, and gone with a rollback; where jobs are in another
        database than the transaction, a StoreError of that one then comes from the commit. Where an unfinished job
        of the task has its `unique_key`, the result is that job's, and nothing is sent.
        """
        draft = self._draft(task, args, kwargs)
        (job,) = self.treadle.keep([draft])
        if job.id == draft.id:
            self.treadle.once_kept(lambda: task_enqueued.send(type(self), task_result=self._sent(job)))
        return self._settled(job)

    async def aenqueue(self, task: "FrameworkTask[..., Any]", args: Any, kwargs: Any) -> "TaskResult[Any]":
        """The same for a coroutine: only the store is asked in another thread, and receivers may be coroutines."""
        if self.treadle.may_await:
            # What follows a send may have to wait for a commit, which is in that thread.
            return await self.treadle.aside(lambda: self.enqueue(task, args, kwargs))
        draft = self._draft(task, args, kwargs)
        (job,) = await self.treadle.aside(lambda: self.treadle.keep([draft]))
        if job.id == draft.id:
            await task_enqueued.asend(type(self), task_result=self._sent(job))
        return await self.treadle.aside(lambda: self._settled(job))

    def _draft(self, task: "FrameworkTask[..., Any]", args: Any, kwargs: Any) -> Job:
        """The row of a call; asks no database."""
        self.validate_task(task)
        call = self.treadle.registry.core(task).bind(*normalize_json(args), **normalize_json(kwargs))
        return self.treadle.drafts([call])[0]

    def _sent(self, job: Job) -> "TaskResult[Any]":
        return result_of(job, [], self.treadle.registry)

    def _settled(self, job: Job) -> "TaskResult[Any]":
        """The result of a job that was kept, or was there: in the mode `immediate` it has run."""
        (job,) = self.treadle.settle([job])
        attempts = self.treadle.store.attempts([job.id]).get(job.id, []) if job.token else []
        return result_of(job, attempts, self.treadle.registry)

    def get_result(self, result_id: str) -> "TaskResult[Any]":
        """Raises TaskResultDoesNotExist, also for an id that could be none, for which no database is asked."""
        self._refuse_no_id(result_id)
        try:
            job = self.treadle.job(result_id)
            return result_of(job.row, job.attempts, self.treadle.registry)
        except (JobNotFound, UnknownTask) as error:
            raise TaskResultDoesNotExist(result_id) from error

    async def aget_result(self, result_id: str) -> "TaskResult[Any]":
        """The same for a coroutine."""
        self._refuse_no_id(result_id)
        return await self.treadle.aside(lambda: self.get_result(result_id))

    def _refuse_no_id(self, result_id: str) -> None:
        try:
            UUID(result_id)
        except (ValueError, TypeError, AttributeError) as error:
            raise TaskResultDoesNotExist(result_id) from error

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        yield from our_checks.check_alias(self.alias, self.options)
