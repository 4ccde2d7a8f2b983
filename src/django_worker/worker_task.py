"""`WorkerTask`, the framework's Task with our options, and what Treadle's core makes of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from django.db import connections
from django.utils import timezone
from django.utils.module_loading import import_string

from django_worker import contract
from django_worker.contract import FrameworkTask, TaskContext, task_backends
from treadle import errors
from treadle.backoff import Backoff, BackoffRule
from treadle.errors import NotATask, UnknownTask, suggestion
from treadle.task import (
    DECORATION_ONLY,
    ERROR_CLASSES,
    LIMITS,
    BoundTask,
    Context,
    Registry,
    Task,
    error_classes,
    redacted_names,
)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTask(FrameworkTask):  # type: ignore[type-arg]  # generic in the backport only
    """A Task of the framework with Treadle's options; `None` leaves one at its default."""

    max_attempts: int = 1
    """How often the function may raise before the job fails."""
    max_crashes: int = 3
    """How often a process may die under the job; with 0 it runs at most once."""
    backoff: BackoffRule = field(default_factory=Backoff.exponential)
    """Takes the error and the job and answers how many seconds to wait; None gives up."""
    retry_on: tuple[type[Exception], ...] = (Exception,)
    """Errors of these classes are tried again while attempts are left, others fail the job; one class will do."""
    give_up_on: tuple[type[Exception], ...] = ()
    """Errors of these classes fail the job at once, also where `retry_on` names them; one class will do."""
    pool: str | None = None
    timeout_s: float | None = None
    """How long a run may take before its process is killed; that counts as an error."""
    memory_mb: float | None = None
    """How much the process of a run may grow before it is killed; that counts as an error."""
    cores: int | None = None
    """How many slots of a worker a run takes up, and threads of BLAS it may use."""
    expires_after: timedelta | None = None
    """A job that has not begun so long after it was sent, or waits then to be tried again, fails with JobExpired."""
    result_ttl_s: float | None = None
    """How many seconds the result is kept after the end; None: as the setting `KEEP_RESULTS_S` says."""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    unique_key: str | None = None
    """Of the jobs of the task with one such key only one is unfinished: to send another gives that one."""
    concurrency_key: str | None = None
    """Of the jobs with one such key, whatever their task and queue, only one runs at a time."""
    redact: tuple[str, ...] = ()
    """Parameters whose arguments are shown nowhere; one name will do. They are kept in the store as they are."""

    def __post_init__(self) -> None:
        where = getattr(self.func, "__qualname__", repr(self.func))
        # Tuples, whatever was given: a task is hashable.
        for name in ERROR_CLASSES:
            object.__setattr__(self, name, _refusing(error_classes, where, name, getattr(self, name)))
        object.__setattr__(self, "redact", _refusing(redacted_names, where, self.redact))
        if isinstance(self.run_after, timedelta) and not is_ours(self):
            # Another backend knows no delays: one in a test's settings gets the time that it comes to now.
            object.__setattr__(self, "run_after", timezone.now() + self.run_after)
        FrameworkTask.__post_init__(self)

    def __reduce__(self) -> Any:
        """As where the task is found and what is another here: a back-off rule could not be pickled."""
        found = import_string(self.module_path)
        names = [field.name for field in fields(self)]
        return _unpickled, (self.module_path, {n: getattr(self, n) for n in names if _differ(self, found, n)})

    def options(self, **changes: Any) -> "WorkerTask":
        """The same task with other options of ours, for one send.

        Raises InvalidTask for a wrong value, TypeError for an option that there is not.
        """
        _refuse_unknown(self.module_path, type(self), changes)
        for name in DECORATION_ONLY & changes.keys():
            raise contract.InvalidTask(f"{self.module_path}: {name} belongs to the function; set it at decoration")
        return replace(self, **changes)

    def bind(self, *args: Any, **kwargs: Any) -> BoundTask[Any]:
        """A call for `send_many`. Raises TypeError here where the arguments do not fit."""
        # Only here, since `site` needs this module.
        from django_worker.site import site

        return site(self.backend).registry.core(self).bind(*args, **kwargs)


def _refuse_unknown(where: str, task_class: type[Any], given: Iterable[str]) -> None:
    known = [field_.name for field_ in fields(task_class)]
    for name in given:
        if name not in known:
            raise TypeError(f"{where}: unknown option {name!r}{suggestion(name, known)}")


def _differ(task: Any, found: Any, name: str) -> bool:
    return bool(getattr(task, name) != getattr(found, name, None))


def _unpickled(path: str, changes: dict[str, Any]) -> Any:
    """Raises ValueError where no task is found at the path: nothing else is ever made of a pickle."""
    found = import_string(path)
    if not isinstance(found, FrameworkTask):
        raise ValueError(f"Expected {path!r} to point to a Task instance.")  # noqa: TRY004
    return copy_with(found, **changes) if changes else found


def copy_with(task: "FrameworkTask[..., Any]", **changes: Any) -> "FrameworkTask[..., Any]":
    """A copy with other fields that is not validated anew, as it would be by `replace`."""
    copy = object.__new__(type(task))
    for field_ in fields(task):
        object.__setattr__(copy, field_.name, changes.get(field_.name, getattr(task, field_.name)))
    return copy


def is_ours(task: "FrameworkTask[..., Any]") -> bool:
    """Whether the backend of the task's alias is ours, as the settings are now: a test may name another one."""
    return getattr(task.get_backend(), "is_treadle", False)


def refusal(task: "FrameworkTask[..., Any]") -> NotATask:
    """What is said of a task whose backend is another's."""
    backend = type(task.get_backend())
    return NotATask(f"{task.module_path} belongs to {backend.__module__}.{backend.__qualname__}, not to Treadle")


def _refusing(checked: Callable[..., Any], *given: Any) -> Any:
    """What a check of the core's answers, its refusal as the framework's."""
    try:
        return checked(*given)
    except errors.InvalidTask as error:
        raise contract.InvalidTask(str(error)) from error


class WorkerContext(TaskContext):
    """What a task with `takes_context=True` is given: the framework's context, with reporting."""

    __slots__ = ("_core",)

    def __init__(self, task_result: Any, core: Context) -> None:
        super().__init__(task_result=task_result)
        object.__setattr__(self, "_core", core)

    @property
    def headers(self) -> dict[str, str]:
        """What travels with the job beside its arguments; of a scheduled one `schedule` and `scheduled_for`."""
        return self._core.headers  # type: ignore[attr-defined,no-any-return]

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the job is; see `treadle.Context.progress`."""
        self._core.progress(done, total, message)  # type: ignore[attr-defined]

    def send(self, body: Any) -> None:
        """Send a message to whoever follows the job."""
        self._core.send(body)  # type: ignore[attr-defined]

    def complete_in(self, connection: Any, value: Any = None) -> None:
        """End the job as succeeded with `value` in the transaction of this connection; see `treadle.Context.complete_in`.

        Inside `transaction.atomic`; `connection` is `django.db.connection`, or an alias of DATABASES.
        """
        given = connections[connection] if isinstance(connection, str) else connection
        self._core.complete_in(given, value)  # type: ignore[attr-defined]


class FunctionOf:
    """The function of a task at an import path: what a pool is sent for a Task, which is not callable itself."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_string(self._path).func(*args, **kwargs)


def callable_of(function: Any) -> Callable[..., Any]:
    """What a pool can run: the function itself, or that of a task."""
    return FunctionOf(function.module_path) if isinstance(function, FrameworkTask) else function


OF_ONE_SEND = ("run_after", "expires_after", "result_ttl_s", "labels", "unique_key", "concurrency_key")
"""Options that may be another for each send."""
OF_THE_TASK = ("max_attempts", "max_crashes", "backoff", "retry_on", "give_up_on", "redact", *LIMITS)
"""Options that are kept with the core's task."""
MOST_CORES = 1000
"""So many of the core's tasks are kept: a site has fewer, and each takes about 1 kB."""
unused_options: list[tuple[str, str, list[str]]] = []
"""Tasks whose backend is not ours, with its alias and the options of ours that it cannot use; a check tells."""


# A task that takes a context is sent without it: the worker adds it.
@overload
def task(function: Callable[P, R], /) -> "FrameworkTask[P, R]": ...
@overload
def task(
    *, takes_context: Literal[True], **options: Any
) -> Callable[[Callable[Concatenate[Any, P], R]], "FrameworkTask[P, R]"]: ...
@overload
def task(**options: Any) -> Callable[[Callable[P, R]], "FrameworkTask[P, R]"]: ...
def task(
    function: Any = None,
    /,
    *,
    priority: int = 0,
    queue_name: str = "default",
    backend: str = "default",
    takes_context: bool = False,
    **options: Any,
) -> Any:
    """The framework's `@task`, with our options, on every supported version of Django.

    Raises InvalidTask where the backend refuses the task. Where the backend of this alias is not ours
    (a Dummy or Immediate one in a test's settings), our options are kept aside and a check says so.
    """
    if "run_after" in options:
        # As Django says it from 6.1 on.
        raise TypeError("run_after cannot be defined statically with the @task decorator.")

    def decorate(function: Callable[..., Any]) -> Any:
        task_class = task_backends[backend].task_class
        given = options
        if not issubclass(task_class, WorkerTask):
            path = f"{function.__module__}.{function.__qualname__}"
            unused_options.append((path, backend, sorted(options)))
            given = {}
        _refuse_unknown(function.__qualname__, task_class, given)
        return task_class(
            func=function, priority=priority, queue_name=queue_name, backend=backend, takes_context=takes_context,
            run_after=None, **given,
        )  # fmt: skip

    return decorate if function is None else decorate(function)


def _aware(run_after: Any) -> Any:
    """With USE_TZ off a time is naive, and meant in the time zone of the site."""
    is_naive = isinstance(run_after, datetime) and timezone.is_naive(run_after)
    return timezone.make_aware(run_after, timezone.get_default_timezone()) if is_naive else run_after


class DjangoRegistry(Registry):
    """Finds tasks as the framework does, by their import path, and gives the core its own form of them."""

    def __init__(self, alias: str) -> None:
        super().__init__()
        self._alias = alias
        self._cores: dict[Any, Task[..., Any]] = {}

    def find(self, name: str) -> Task[..., Any]:
        return self.core(self.framework_task(name))

    def __contains__(self, name: str) -> bool:
        try:
            self.framework_task(name)
        except UnknownTask:
            return False
        return True

    def framework_task(self, name: str) -> "FrameworkTask[..., Any]":
        """The Task at an import path. Raises UnknownTask where there is none: nothing else is ever run."""
        try:
            found = import_string(name)
        except Exception as error:
            # Its module may raise anything while it is imported, and may be mended by the next deploy.
            reason = error if isinstance(error, ImportError) else repr(error)
            raise UnknownTask(f"no task is found at {name!r}: {reason}") from error
        if not isinstance(found, FrameworkTask):
            raise UnknownTask(f"{name!r} is a {type(found).__name__}, not a task: decorate it with @task")
        return found

    def knows(self, task: object) -> bool:
        return isinstance(task, Task)

    def core(self, task: "FrameworkTask[..., Any]") -> Task[..., Any]:
        """The core's task with the options of the framework's. Raises NotATask, InvalidTask."""
        if not isinstance(task, FrameworkTask):
            name = getattr(task, "__qualname__", repr(task))
            raise NotATask(f"{name} is not a task: decorate it with @task, and pass the task, not a call of it")
        if not is_ours(task):
            raise refusal(task)
        core = self._core_of(task)
        # What is another for each send is not kept with the core's task.
        given = {name: getattr(task, name, None) for name in OF_ONE_SEND}
        given["run_after"] = _aware(task.run_after)
        changes = {name: value for name, value in given.items() if value not in (None, {})}
        return core.options(**changes) if changes else core

    def _core_of(self, task: "FrameworkTask[..., Any]") -> Task[..., Any]:
        options: dict[str, Any] = {
            "queue": task.queue_name,
            "priority": int(task.priority),
            "takes_context": task.takes_context,
        }
        # A plain one was decorated while its alias had another backend; it has none of our options.
        if isinstance(task, WorkerTask):
            options |= {name: getattr(task, name) for name in OF_THE_TASK}
            options |= {"pool": task.pool} if task.pool is not None else {}
        # Inspecting a function takes longer than sending it.
        key = (task.func, *options.values())
        core = self._cores.get(key)
        if core is None:
            if len(self._cores) >= MOST_CORES:
                # A site that computes a limit for each send would grow by it.
                self._cores.clear()
            core = self._cores[key] = Task(task.func, name=task.module_path, **options)
        return core
