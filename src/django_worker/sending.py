"""The verbs: what `from django_worker import …` gives beside `task`."""

from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings

from django_worker.contract import FrameworkTask
from django_worker.site import DjangoTreadle, hooks, site
from django_worker.worker_task import callable_of, is_ours, refusal, unused_options
from treadle.app import Sent
from treadle.handle import JobHandle
from treadle.schedule import Schedule
from treadle.store.contract import Forgotten
from treadle.task import BoundTask

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H")


def send_function(task: "FrameworkTask[P, R]", /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
    """Send one call through the task's own alias; every argument after the task is the task's.

    Takes what `treadle.codec` can carry, which is more than `enqueue` takes. Inside
    `transaction.atomic` the call is sent with the commit, and gone with a rollback. Raises NotATask,
    TypeError where the arguments do not fit, PayloadError or PayloadTooLarge, and a StoreError; then
    nothing was sent.
    """
    treadle = _treadle_of(task)
    return treadle.send_many([treadle.registry.core(task).bind(*args, **kwargs)])[0]


def send_many(calls: Iterable[BoundTask[R]], *, alias: str = "default") -> list[JobHandle[R]]:
    """Send many calls in one transaction."""
    return site(alias).send_many(calls)


def send_map(
    task: "FrameworkTask[..., Any]",
    items: Iterable[Any],
    *,
    reduce: "FrameworkTask[..., Any] | None" = None,
    parts: int | None = None,
) -> JobHandle[Any]:
    """Send `task(item)` for each item as one job; see `treadle.Treadle.send_map`."""
    treadle = _treadle_of(task)
    total = treadle.registry.core(reduce) if reduce is not None else None
    return treadle.send_map(treadle.registry.core(task), items, reduce=total, parts=parts)


def schedule(
    cron: str,
    call: "BoundTask[Any] | FrameworkTask[[], Any]",
    *,
    timezone: str | None = None,
    alias: str = "default",
    **options: Any,
) -> Schedule | None:
    """Have workers send a call again and again; see `treadle.Treadle.schedule`.

        schedule("0 3 * * *", report.bind(7))

    Put it into the module `schedules` of an app: workers import these. `timezone` is TIME_ZONE where not given. A task
    whose backend is not ours (a Dummy one in a test's settings) is kept aside, and a check says so; then None.
    """
    if isinstance(call, FrameworkTask) and not is_ours(call):
        unused_options.append((call.module_path, call.backend, ["schedule"]))
        return None
    treadle = site(alias)
    bound = treadle.registry.core(call) if isinstance(call, FrameworkTask) else call
    return treadle.schedule(cron, bound, timezone=timezone or settings.TIME_ZONE, **options)


def around(hook: H) -> H:
    """Add a hook around the jobs of all aliases; see `treadle.Treadle.around`, and `django_worker.hooks` for some.

    Put it into `ready()` of an app, or beside tasks: where jobs are sent and where they run.
    """
    return hooks.add(hook)


def job(job_id: str, *, alias: str = "default") -> JobHandle[Any]:
    """The job with this id. Raises JobNotFound."""
    return site(alias).job(job_id)


def jobs(*, alias: str = "default", **wanted: Any) -> list[JobHandle[Any]]:
    """The newest jobs that fit; see `treadle.Treadle.jobs`."""
    return site(alias).jobs(**wanted)


def pause(*queues: str, alias: str = "default") -> None:
    """Have no worker take jobs of these queues until `resume`; see `treadle.Treadle.pause`."""
    site(alias).pause(*queues)


def resume(*queues: str, alias: str = "default") -> None:
    """Have the jobs of these queues taken again."""
    site(alias).resume(*queues)


def paused(*, alias: str = "default") -> dict[str, datetime]:
    """The queues that are paused, and since when."""
    return site(alias).paused()


def forget(*, labels: dict[str, str], alias: str = "default") -> Forgotten:
    """Blank the finished jobs that have all these labels; see `treadle.Treadle.forget`."""
    return site(alias).forget(labels=labels)


def run_pending(*, alias: str = "default") -> list[JobHandle[Any]]:
    """Run the jobs that wait, in this thread, on this connection, inside this transaction; for tests."""
    return site(alias).run_pending()


def sent(task: "FrameworkTask[..., Any] | None" = None, *, alias: str = "default") -> list[Sent]:
    """The calls that were sent, of this task or of all, oldest first; for tests."""
    if task is None:
        return site(alias).sent()
    treadle = _treadle_of(task)
    return treadle.sent(treadle.registry.core(task))


def _treadle_of(task: Any) -> DjangoTreadle:
    if not isinstance(task, FrameworkTask):
        # Which says so itself.
        return site()
    if not is_ours(task):
        raise refusal(task)
    return site(task.backend)


def _in_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    # Django's connections belong to a thread: asgiref keeps to the one of the request.
    return sync_to_async(function, thread_sensitive=True)


asend_function = _in_thread(send_function)
asend_many = _in_thread(send_many)
asend_map = _in_thread(send_map)
ajob = _in_thread(job)
ajobs = _in_thread(jobs)


class LazyPool:
    """The pool for computing now, of the alias `default`; made when it is first used, once a process.

    Takes plain functions and tasks, and of a task runs the function. See `treadle.ProcessPool`.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return site().pool.submit(callable_of(fn), *args, **kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        return site().pool.map(callable_of(fn), *iterables, timeout=timeout, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        site().pool.shutdown(wait, cancel_futures=cancel_futures)


pool = LazyPool()
