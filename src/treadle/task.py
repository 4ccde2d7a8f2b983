"""What may be run: tasks, the registry that knows them by name, and what a running one is given."""

import asyncio
import inspect
import math
import pickle
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from functools import update_wrapper
from operator import attrgetter
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec

from treadle import codec, cores
from treadle.backoff import Backoff, BackoffRule
from treadle.clock import US_PER_S, Clock, SystemClock, as_us
from treadle.errors import InvalidTask, PayloadError, PayloadTooLarge, UnknownTask, suggestion
from treadle.job import LONGEST_WAIT_S, Job, Progress
from treadle.locate import import_here, module_name

P = ParamSpec("P")
R = TypeVar("R")

MIN_PRIORITY, MAX_PRIORITY = -100, 100
POOLS = ("processes", "threads", "coroutines", "inline")
LIMITS = ("timeout_s", "memory_mb", "cores")
"""The options that only a process can be held to."""
LONGEST_KEY = 200
"""Characters of a key or of the name of a queue: it stands in an index."""
SEND_ONLY = frozenset({"connection"})
"""What is of one send: no job's row could carry it."""
PROGRESS_INTERVAL_S = 0.05
"""At most 20 reports of progress a second leave a running task; the last one always does."""

DECORATION_ONLY = frozenset({"takes_context", "backoff", "retry_on", "give_up_on", "redact"})
"""What a job's row cannot carry."""
ERROR_CLASSES = ("retry_on", "give_up_on")
"""The options that name classes of errors."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a task's jobs are run; each may be set at decoration or for one send."""

    queue: str = "default"
    priority: int = 0
    """-100 to 100; the highest runs first."""
    max_attempts: int = 1
    """How often the function may raise before the job fails."""
    max_crashes: int = 3
    """How often a process may die under the job; with 0 it runs at most once."""
    backoff: BackoffRule = Backoff.exponential()
    retry_on: tuple[type[Exception], ...] = (Exception,)
    """Errors of these classes are tried again while attempts are left, others fail the job; one class will do."""
    give_up_on: tuple[type[Exception], ...] = ()
    """Errors of these classes fail the job at once, also where `retry_on` names them; one class will do."""
    pool: str = "processes"
    """Where not named: `coroutines` for an async function, else `processes`. On a free-threaded build `threads`, which
    then run on every core, for a plain function without limits: a crash of one takes the worker along.
    Or the name of one of the setting `executors`."""
    timeout_s: float | None = None
    """How long a run may take before its process is killed; that counts as an error. Pool `processes` only."""
    memory_mb: float | None = None
    """How much the process of a run may grow before it is killed; that counts as an error. Pool `processes` only."""
    cores: int | None = None
    """How many slots of a worker a run takes up, and threads of BLAS it may use. Pool `processes` only."""
    takes_context: bool = False
    """The function takes a Context as its first argument."""
    run_after: datetime | timedelta | None = None
    expires_after: timedelta | None = None
    """A job that has not begun so long after it was sent, or waits then to be tried again, fails with JobExpired."""
    result_ttl_s: float | None = None
    """How many seconds the result is kept after the end; None: as the setting `keep_results_s` says."""
    labels: dict[str, str] = {}
    unique_key: str | None = None
    """Of the jobs of the task with one such key only one is unfinished: to send another gives that one."""
    concurrency_key: str | None = None
    """Of the jobs with one such key, whatever their task and queue, only one runs at a time."""
    redact: tuple[str, ...] = ()
    """Parameters whose arguments are shown nowhere; one name will do. They are kept in the store as they are."""
    connection: Any = None
    """A connection of the caller's to the database of the store, whose transaction the send is part of."""

    def changed(self, changes: Mapping[str, Any], where: str) -> "Options":
        """A copy with other options. Raises InvalidTask for an unknown name or a wrong value."""
        for name in changes:
            if name not in self.__struct_fields__:
                raise InvalidTask(f"{where}: unknown option {name!r}{suggestion(name, self.__struct_fields__)}")
        told: dict[str, Any] = {
            name: error_classes(where, name, changes[name]) for name in ERROR_CLASSES if name in changes
        }
        if "redact" in changes:
            told["redact"] = redacted_names(where, changes["redact"])
        options = msgspec.structs.replace(self, **{**changes, **told})
        options._check(where)
        return options

    def _check(self, where: str) -> None:
        _whole_number(where, "priority", self.priority, MIN_PRIORITY, MAX_PRIORITY)
        _whole_number(where, "max_attempts", self.max_attempts, 1, 1_000_000)
        _whole_number(where, "max_crashes", self.max_crashes, 0, 1_000_000)
        # Another name may be that of an executor, which the application's settings know; but not one like these.
        is_ours = self.pool in POOLS
        if not (is_ours or (isinstance(self.pool, str) and self.pool and not suggestion(self.pool, POOLS))):
            raise InvalidTask(f"{where}: unknown pool {self.pool!r}{suggestion(self.pool, POOLS)}")
        if not _is_name(self.queue):
            raise InvalidTask(
                f"{where}: queue must be a name of 1 to {LONGEST_KEY} characters, got {self.queue!r:.250}"
            )
        if not callable(self.backoff):
            raise InvalidTask(f"{where}: backoff must be callable, got {self.backoff!r}")
        _check_run_after(where, self.run_after)
        _check_expires_after(where, self.expires_after)
        _check_limits(where, self)
        _check_key(where, "unique_key", self.unique_key)
        _check_key(where, "concurrency_key", self.concurrency_key)
        labels = self.labels.items() if isinstance(self.labels, dict) else [(None, None)]
        if not all(_is_text(word) for pair in labels for word in pair):
            raise InvalidTask(f"{where}: labels are strings by name, got {self.labels!r:.250}")

    def retries(self, error: BaseException) -> bool:
        """Whether an error of this class is tried again while attempts are left."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    def expires_at_us(self, now_us: int) -> int | None:
        """When a job sent now must have begun; None: whenever."""
        if self.expires_after is None:
            return None
        return now_us + round(self.expires_after.total_seconds() * US_PER_S)

    def run_at_us(self, now_us: int) -> int:
        """The earliest time at which a job sent now may run."""
        match self.run_after:
            case None:
                return now_us
            case timedelta() as delay:
                return now_us + round(delay.total_seconds() * US_PER_S)
            case datetime() as moment:
                return as_us(moment)


def error_classes(where: str, name: str, value: Any) -> tuple[type[Exception], ...]:
    """The classes that an option names, given as a class, a tuple or a list. Raises InvalidTask for anything else."""
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    for each in given:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            # Others, as SystemExit and CancelledError, end a run from outside.
            raise InvalidTask(f"{where}: {name} takes classes of Exception, as {name}=(OSError,), got {each!r}")
    return given


def redacted_names(where: str, value: Any) -> tuple[str, ...]:
    """The parameters that `redact` names, given as one name, a tuple or a list. Raises InvalidTask for anything else."""
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not all(isinstance(name, str) and name for name in given):
        raise InvalidTask(f"{where}: redact takes names of parameters, as redact=('email',), got {value!r}")
    return given


def _check_redact(where: str, redact: tuple[str, ...], signature: inspect.Signature) -> None:
    """A name that is misspelt would show what it was to hide."""
    parameters = signature.parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in redact if not takes_any else ():
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise InvalidTask(
                f"{where}: redact names {name!r}, which is no parameter{suggestion(name, parameters)}; "
                f"the parameters are: {known}"
            )


def _check_limits(where: str, options: Options) -> None:
    for name, unit in (("timeout_s", "seconds"), ("memory_mb", "megabytes"), ("result_ttl_s", "seconds")):
        value = getattr(options, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # A limit that no clock or machine can reach is a mistake: its unit was taken for another.
        if value is not None and not (is_number and 0 < value <= LONGEST_WAIT_S):
            raise InvalidTask(f"{where}: {name} must be a number of {unit} above 0, or None, got {value!r}")
    if options.cores is not None:
        _whole_number(where, "cores", options.cores, 1, 1_000_000)


def _check_key(where: str, name: str, key: Any) -> None:
    if key is not None and not _is_name(key):
        raise InvalidTask(f"{where}: {name} must be a text of 1 to {LONGEST_KEY} characters, or None, got {key!r:.250}")


def _is_name(value: Any) -> bool:
    return _is_text(value) and 1 <= len(value) <= LONGEST_KEY


def _is_text(value: Any) -> bool:
    """Whether every store can keep it: PostgreSQL refuses one character, and all of them what UTF-8 cannot say."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _check_run_after(where: str, run_after: Any) -> None:
    match run_after:
        case None:
            return
        case datetime():
            if run_after.tzinfo is None:
                raise InvalidTask(f"{where}: run_after must know its time zone, got {run_after!r}")
        case timedelta():
            if run_after.total_seconds() > LONGEST_WAIT_S:
                raise InvalidTask(f"{where}: run_after is more than a hundred years away: {run_after!r}")
        case _:
            raise InvalidTask(f"{where}: run_after is a datetime or a timedelta, got {run_after!r}")


def _check_expires_after(where: str, expires_after: Any) -> None:
    if expires_after is None:
        return
    if not isinstance(expires_after, timedelta) or not 0 < expires_after.total_seconds() <= LONGEST_WAIT_S:
        raise InvalidTask(
            f"{where}: expires_after is a timedelta above 0 and of at most a hundred years, got {expires_after!r}"
        )


def _whole_number(where: str, name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise InvalidTask(f"{where}: {name} must be a whole number from {least} to {most}, got {value!r}")


class Task(Generic[P, R]):
    """A function that may be sent. Calling it runs the function here, as if it were not decorated."""

    __name__: str
    __module__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[..., R],
        *,
        name: str | None = None,
        aliases: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        """Raises InvalidTask where a worker could not import the function, or an option is wrong."""
        where = getattr(function, "__qualname__", repr(function))
        for option in SEND_ONLY & options.keys():
            raise InvalidTask(f"{where}: {option} belongs to one send: give it with task.options({option}=…)")
        self.function = function
        self.module, self.qualname = _importable_path(function)
        self.name = name or f"{self.module}.{self.qualname}"
        self.aliases = _names(where, aliases)
        self._names_pool = "pool" in options
        self._options = self._with_pool(Options().changed(options, where))
        self._refuse_wrong_pool(where)
        self.signature = _sendable_signature(function, self._options.takes_context)
        _check_redact(where, self._options.redact, self.signature)
        update_wrapper(self, function)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def settings(self) -> Options:
        """The options in force."""
        return self._options

    def options(self, **changes: Any) -> "Task[P, R]":
        """The same task with other options, for one send. Raises InvalidTask for a wrong one."""
        for name in DECORATION_ONLY & changes.keys():
            raise InvalidTask(f"{self.name}: {name} belongs to the function; set it at decoration")
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._names_pool = self._names_pool or "pool" in changes
        other._options = other._with_pool(self._options.changed(changes, self.name))
        other._refuse_wrong_pool(self.name)
        return other

    def _with_pool(self, options: Options) -> Options:
        """The options with the pool that fits best, where none was named."""
        if self._names_pool:
            return options
        is_limited = any(getattr(options, name) is not None for name in LIMITS)
        plain = "processes" if is_limited or cores.has_gil() else "threads"
        return msgspec.structs.replace(options, pool="coroutines" if self.is_async else plain)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> "BoundTask[R]":
        """A call to be sent later. Raises TypeError here where the arguments do not fit."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None
        return BoundTask(self, args, kwargs)

    def run(self, report: Callable[[Any], None], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here; what its context says goes to `report`, the last progress at the end."""
        if not self._options.takes_context:
            return self.function(*args, **kwargs)
        context = Context(None, report)
        try:
            return self.function(context, *args, **kwargs)
        finally:
            context.flush()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here. A task that takes a context gets one that reports to nobody."""
        if self._options.takes_context:
            return self.function(Context.detached(), *args, **kwargs)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> Any:
        # The name of a function finds this object in its place, which is why pickle refuses the
        # function itself.
        return import_task, (self.module, self.qualname)

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], max_bytes: int) -> str:
        """The payload of a call. Raises PayloadError or PayloadTooLarge."""
        args, kwargs = self._with_dataclasses(args, kwargs, _to_plain)
        root = f"the arguments of {self.name}"
        try:
            return codec.encode_fields({"args": args, "kwargs": kwargs}, root=root, max_bytes=max_bytes)
        except PayloadError as error:
            reason = self._without_values(error, root)
        raise reason

    def decode_arguments(self, payload: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call. Raises PayloadError where they are damaged or fit no longer."""
        try:
            return self._decoded_arguments(payload)
        except PayloadError as error:
            reason = self._without_values(error, f"the stored arguments of {self.name}{self.signature}")
        raise reason

    def _decoded_arguments(self, payload: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kept = codec.decode(payload)
        try:
            args, kwargs = self._with_dataclasses(tuple(kept["args"]), kept["kwargs"], msgspec.convert)
            self.signature.bind(*args, **kwargs)
        except (TypeError, KeyError, msgspec.ValidationError) as error:
            raise PayloadError(f"the stored arguments do not fit {self.name}{self.signature}: {error}") from None
        return args, kwargs

    def encode_items(self, items: Sequence[Any], root: str, max_bytes: int) -> str:
        """The payload of a part, each item the only argument of a call. Raises PayloadError or PayloadTooLarge."""
        plain = [self._with_dataclasses((item,), {}, _to_plain)[0][0] for item in items]
        try:
            return codec.encode_fields({"items": plain}, root=root, max_bytes=max_bytes)
        except PayloadError as error:
            reason = self._without_values(error, root)
        raise reason

    def decode_items(self, payload: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of each call of a part. Raises PayloadError where they are damaged or fit no longer."""
        try:
            return self._decoded_items(payload)
        except PayloadError as error:
            reason = self._without_values(error, f"the stored items of {self.name}{self.signature}")
        raise reason

    def _decoded_items(self, payload: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        kept = codec.decode(payload)
        try:
            return [self._with_dataclasses((item,), {}, msgspec.convert) for item in kept["items"]]
        except (TypeError, KeyError, msgspec.ValidationError) as error:
            raise PayloadError(f"the stored items do not fit {self.name}{self.signature}: {error}") from None

    def _without_values(self, error: PayloadError, what: str) -> PayloadError:
        """An error whose text shows no argument, nor a part of one, where some are redacted.

        It is raised outside of the handling of the other one, which a traceback would show beside it.
        """
        if not self._options.redact or isinstance(error, PayloadTooLarge):
            return error
        return PayloadError(f"{what} cannot be kept as JSON or do not fit; why is not shown, since some are redacted")

    def encode_result(self, value: R, max_bytes: int) -> str:
        """The JSON of what the function returned. Raises PayloadError or PayloadTooLarge."""
        annotation = self._dataclasses.get("return")
        plain = value if annotation is None else _to_plain(value, annotation)
        return codec.encode(plain, root=f"the result of {self.name}", max_bytes=max_bytes)

    def decode_result(self, result: str) -> R:
        """What the function returned, from its JSON. Raises PayloadError where it is damaged."""
        value = codec.decode(result)
        annotation = self._dataclasses.get("return")
        return value if annotation is None else msgspec.convert(value, annotation)  # type: ignore[no-any-return]

    def _with_dataclasses(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Any, Any], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, those annotated with a dataclass changed by `change(value, annotation)`."""
        if not self._dataclasses.keys() - {"return"}:
            return args, kwargs
        bound = self.signature.bind(*args, **kwargs)
        for name in self._dataclasses.keys() & bound.arguments.keys():
            value, annotation = bound.arguments[name], self._dataclasses[name]
            match self.signature.parameters[name].kind:
                # The annotation of *args and **kwargs is that of each value in them.
                case inspect.Parameter.VAR_POSITIONAL:
                    bound.arguments[name] = tuple(change(each, annotation) for each in value)
                case inspect.Parameter.VAR_KEYWORD:
                    bound.arguments[name] = {key: change(each, annotation) for key, each in value.items()}
                case _:
                    bound.arguments[name] = change(value, annotation)
        return bound.args, bound.kwargs

    @property
    def _dataclasses(self) -> dict[str, Any]:
        """The annotations that name a dataclass; read late, for they may name what is defined later."""
        cached: dict[str, Any] | None = self.__dict__.get("_dataclass_annotations")
        if cached is None:
            cached = self.__dict__["_dataclass_annotations"] = _dataclass_annotations(self.function)
        return cached

    def _refuse_wrong_pool(self, where: str) -> None:
        pool = self._options.pool
        if self.is_async and pool not in ("coroutines", "inline"):
            raise InvalidTask(f"{where}: an async function cannot run on {pool!r}; use pool='coroutines'")
        if not self.is_async and pool == "coroutines":
            raise InvalidTask(f"{where}: 'coroutines' runs async functions; use 'processes' or 'threads'")
        self._refuse_limits(where)

    def _refuse_limits(self, where: str) -> None:
        """A limit that cannot be kept is refused: ignoring one would be a lie."""
        pool = self._options.pool
        for name in LIMITS if pool != "processes" else ():
            value = getattr(self._options, name)
            if value is not None:
                advice = self._advice_on(name)
                raise InvalidTask(
                    f"{where}: {name}={value} cannot be kept on pool {pool!r}, whose calls cannot be ended; {advice}"
                )

    def _advice_on(self, limit: str) -> str:
        if not self.is_async:
            return "use pool='processes'"
        if limit == "timeout_s":
            return "use asyncio.timeout inside the function"
        return "make it a plain function with pool='processes'"


class BoundTask(Generic[R]):
    """A checked call: a task with its arguments, made by `Task.bind`."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(self, task: Task[Any, R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        # Arguments may be secret: a repr ends up in logs.
        return f"<BoundTask {self.task.name} with {len(self.args) + len(self.kwargs)} arguments>"


def import_task(module: str, qualname: str) -> Any:
    """What stands under a qualified name in a module."""
    try:
        return attrgetter(qualname)(import_here(module))
    except AttributeError as error:
        raise pickle.PicklingError(f"there is no {qualname!r} in module {module!r}") from error


class Registry:
    """The tasks of one application, by name and by alias."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[Any, Any]] = {}

    # A task that takes a context is called without it: the worker adds it.
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self, /, *, takes_context: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate["Context", P], R]], Task[P, R]]: ...
    @overload
    def task(self, /, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Decorate a module-level function so that it may be sent; bare, or with options.

        `name` (default: module and qualified name), `aliases` (names of old jobs) and those of
        `Options`. Raises InvalidTask where the function cannot be a task, or not with these options.
        """
        if function is None:
            return lambda function: self.add(Task(function, **options))
        return self.add(Task(function, **options))

    def add(self, task: Task[P, R]) -> Task[P, R]:
        names = (task.name, *task.aliases)
        for name in names:
            other = self._tasks.get(name)
            if other is not None and (other.module, other.qualname) != (task.module, task.qualname):
                raise InvalidTask(
                    f"two tasks are named {name!r}: {other.module}.{other.qualname} and {task.module}.{task.qualname}"
                )
        self._tasks.update(dict.fromkeys(names, task))
        return task

    def find(self, name: str) -> Task[Any, Any]:
        """The task of this name or alias. Raises UnknownTask."""
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownTask(f"no task is named {name!r} here{suggestion(name, self._tasks)}") from None

    def knows(self, task: object) -> bool:
        """Whether this very task, or a copy with other options, is registered here."""
        known = self._tasks.get(task.name) if isinstance(task, Task) else None
        return known is not None and known.function is task.function  # type: ignore[attr-defined]

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


class Context:
    """What a task that takes a context is given as its first argument."""

    def __init__(
        self,
        job: Job | None,
        report: Callable[[Any], None],
        clock: Clock | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
        complete: Callable[[Any, Any], None] = lambda connection, value: None,
    ) -> None:
        self._job = job
        self._report = report
        self._is_cancelled = is_cancelled
        self._complete = complete
        self._clock = clock or SystemClock()
        self._pending: Progress | None = None
        self._last_report_s = -PROGRESS_INTERVAL_S

    @classmethod
    def detached(cls) -> "Context":
        """A context that reports to nobody, for a direct call."""
        return cls(None, lambda report: None)

    @property
    def job_id(self) -> str | None:
        """The id of the job, or None in a direct call."""
        return self._job.id if self._job else None

    @property
    def attempt(self) -> int:
        """1 on the first run."""
        return self._job.attempt if self._job else 1

    @property
    def labels(self) -> dict[str, str]:
        return self._job.labels if self._job else {}

    @property
    def headers(self) -> dict[str, str]:
        """What travels with the job beside its arguments; of a scheduled one `schedule` and `scheduled_for`."""
        return self._job.headers if self._job else {}

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the job is.

        Cheap: at most 20 reports a second leave the task; those between are replaced by the next,
        and the last one is always delivered. Raises TypeError or ValueError for what is no number, and
        asyncio.CancelledError where the job was cancelled and nothing else can end it, as in a thread.
        """
        if self._is_cancelled():
            raise asyncio.CancelledError("the job was cancelled")
        if not (math.isfinite(done) and (total is None or math.isfinite(total))):
            raise ValueError(f"progress takes finite numbers, got {done} of {total}")
        if not isinstance(message, str):
            raise TypeError(f"the message of progress is a text, got {message!r}")
        message.encode()  # A text that cannot be kept is told here, in the task.
        self._pending = Progress(done, total, message)
        if self._clock.monotonic_s() - self._last_report_s >= PROGRESS_INTERVAL_S:
            self.flush()

    def send(self, body: Any) -> None:
        """Send a message to whoever follows the job. Raises PayloadError where JSON cannot carry it."""
        self._report(codec.encode(body, root="the message", max_bytes=64 * 1024))

    def complete_in(self, connection: Any, value: Any = None) -> None:
        """End the job as succeeded with the result `value`, in your transaction on this connection; then commit.

        So what the job has done in the database is kept together with its end, once, or not at all: where the process
        dies before the commit the job runs again and finds nothing done, and after it the job has succeeded. Takes
        what the option `connection` of a send takes. Call it last, just before the commit: until then it locks the row
        of the job, on SQLite the file. What the function returns then is ignored, progress and messages are dropped.

        Raises ClaimLost where the job is not this run's any more: let it roll back your transaction. Raises CannotJoin,
        PayloadError, or another StoreError; nothing of the end is in your transaction then. Where the function returns
        and has not committed, the attempt fails with NotCommitted. In a direct call, without a job, it does nothing.
        """
        self.flush()
        self._complete(connection, value)
        self._report, self._is_cancelled = lambda report: None, lambda: False

    def flush(self) -> None:
        """Deliver the progress that waits; the worker does this at the end of a run."""
        if self._pending is not None:
            self._report(self._pending)
            self._pending = None
            self._last_report_s = self._clock.monotonic_s()


def _names(where: str, aliases: Any) -> tuple[str, ...]:
    if not isinstance(aliases, tuple | list) or not all(isinstance(name, str) and name for name in aliases):
        raise InvalidTask(f"{where}: aliases is a tuple of names, got {aliases!r}")
    return tuple(aliases)


def _importable_path(function: Any) -> tuple[str, str]:
    """Module and qualified name under which another process finds the function, or InvalidTask."""
    qualname = getattr(function, "__qualname__", "")
    if not inspect.isroutine(function) or not qualname:
        raise InvalidTask(f"{function!r} is not a function; decorate a function defined with def")
    if "<lambda>" in qualname:
        raise InvalidTask("a lambda has no name that a worker could import; use def at module level")
    if "<locals>" in qualname:
        raise InvalidTask(
            f"{qualname} is defined inside a function, where a worker cannot import it; move it to module level"
        )
    module = module_name(function.__module__)
    if module == "__main__":
        raise InvalidTask(
            f"{qualname} is defined in an interactive session, which a worker cannot import; put it into a file"
        )
    return module, qualname


def _sendable_signature(function: Callable[..., Any], takes_context: bool) -> inspect.Signature:
    """What the sender passes: the signature without the context."""
    signature = inspect.signature(function)
    if not takes_context:
        return signature
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise InvalidTask(f"{function.__qualname__}: takes_context=True, but there is no first parameter for it")
    return signature.replace(parameters=parameters[1:])


def _dataclass_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        # Annotations are the user's and may name anything; without them nothing is rebuilt.
        return {}
    return {name: hint for name, hint in hints.items() if _mentions_dataclass(hint)}


def _mentions_dataclass(annotation: Any) -> bool:
    if isinstance(annotation, type) and is_dataclass(annotation):
        return True
    return any(_mentions_dataclass(inner) for inner in typing.get_args(annotation))


def _to_plain(value: Any, annotation: Any) -> Any:
    """A value with each dataclass in it as a dict; what else is in it, the codec judges."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_plain(getattr(value, field.name), None) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _to_plain(inner, None) for key, inner in value.items()}
    return [_to_plain(inner, None) for inner in value] if isinstance(value, list | tuple) else value
