"""The run of one job: a list of steps that ends in an Outcome and writes nothing.

A Runner belongs to one application. Its `run` is what a worker calls in a pool; for a child process it calls
`run_packed`, which goes to the Runner that was installed there when the child was made ready, so that no
application ever has to be pickled.
"""

import asyncio
import logging
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self

import msgspec

from treadle.around import Around
from treadle.backoff import BackoffRule
from treadle.clock import Clock, SystemClock
from treadle.errors import MemoryLimitExceeded, PayloadError, Reject, Retry, Snooze, TaskTimeout, UnknownTask
from treadle.job import Attempt, Claim, Failure, Job, Kind, Outcome
from treadle.pools.contract import report
from treadle.pools.inline import run_coroutine
from treadle.task import Context, Options, Registry, Task
from treadle.worker import completion

MAX_TRACEBACK_CHARACTERS = 32_000
GATHER = "treadle.gather"
"""The task of a whole that has no `reduce`: its result is the list of all results."""


cancelled_here: set[Claim] = set()
"""Runs inside the worker's own process that somebody has cancelled: they end when they next report progress."""
CANCELLED_ERROR = f"{asyncio.CancelledError.__module__}.{asyncio.CancelledError.__qualname__}"
"""What a run raises that was ended from outside, in a coroutine or at a report of progress."""


class Work(msgspec.Struct, frozen=True, gc=False):
    """What a run is given: the job, its payload complete, and its earlier attempts where there are any."""

    job: Job
    earlier: tuple[Attempt, ...] = ()

    def packed(self) -> bytes:
        """What `run_packed` takes: quicker than pickle, which calls back into Python for each Enum."""
        return msgspec.msgpack.encode(self)


class Runner:
    """How the jobs of one application are run; the integrations refine what surrounds a call."""

    def __init__(
        self,
        registry: Registry,
        *,
        max_result_bytes: int = 16 * 1024 * 1024,
        clock: Clock | None = None,
        notify: bool = True,
        hooks: Around | None = None,
    ) -> None:
        """`notify`: whether a run that completes its job tells who listens, on PostgreSQL."""
        self._hooks = hooks or Around()
        self.registry = registry
        self._notify = notify
        self._max_result_bytes = max_result_bytes
        self._clock = clock or SystemClock()

    def run(self, work: Work) -> Outcome:
        """Run a job here. Raises nothing but KeyboardInterrupt."""
        with _Recording(self, work) as recording:
            task = recording.task = self.find(work.job)
            calls = self.decode(task, work.job)
            self.begins(task, work)
            with self.surroundings(task, work), self._hooks.entered(work.job), self.context(task, work) as context:
                values = [self.call(task, context, args, kwargs) for args, kwargs in calls]
            recording.outcome = self.answer(task, work.job, values)
        return recording.outcome

    async def arun(self, work: Work) -> Outcome:
        """The same for an async function, in the running event loop."""
        async with _Recording(self, work) as recording:
            task = recording.task = self.find(work.job)
            calls = self.decode(task, work.job)
            await self.abegins(task, work)
            with self.surroundings(task, work), self._hooks.entered(work.job), self.context(task, work) as context:
                values = [await self.acall(task, context, args, kwargs) for args, kwargs in calls]
            recording.outcome = self.answer(task, work.job, values)
        return recording.outcome

    def outcome_of_limit(self, job: Job, error: TaskTimeout | MemoryLimitExceeded) -> Outcome:
        """The outcome of a run that its pool has killed for passing a limit: an error like one that it raised.

        Whether it is tried again, and when, is asked here, in the worker's process: that of the run is gone.
        """
        retry_after_s = self.retry_after_s(self._options_of(job), job, error)
        make = Outcome.timed_out if isinstance(error, TaskTimeout) else Outcome.out_of_memory
        return make(failure_of(error), retry_after_s)

    def _options_of(self, job: Job) -> Options:
        try:
            return self.find(job).settings
        except Exception:
            # Its module may be importable in children only; the row says that attempts are left all the same.
            return Options()

    def retry_after_s(self, options: Options, job: Job, error: BaseException) -> float | None:
        """How long to wait before the next attempt; None: there is none."""
        has_left = job.attempt < job.max_attempts
        if not isinstance(error, Retry):
            return self._backoff_s(options.backoff, job, error) if has_left and options.retries(error) else None
        reason = reason_of(error)
        if not has_left:
            reason.add_note(f"the task asked for another attempt, and none is left: max_attempts is {job.max_attempts}")
            return None
        return self._backoff_s(options.backoff, job, reason) if error.after_s is None else error.after_s

    def _backoff_s(self, backoff: BackoffRule, job: Job, error: BaseException) -> float | None:
        try:
            answer = backoff(error, job)
            wait_s = math.inf if answer is None else float(answer)
        except Exception as reason:
            # A rule that fails must not hide why the job did.
            error.add_note(f"and its back-off rule raised {reason!r}, so there is no further attempt")
            return None
        # To wait for ever is to give up, and whoever is told of the end must be told so.
        return wait_s if math.isfinite(wait_s) else None

    def find(self, job: Job) -> Task[Any, Any]:
        """Raises UnknownTask."""
        return _gather if job.task == GATHER else self.registry.find(job.task)

    def decode(self, task: Task[Any, Any], job: Job) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of each call that the job asks for. Raises _Unfit."""
        try:
            if job.kind is Kind.PART:
                return task.decode_items(job.payload)
            return [task.decode_arguments(job.payload)]
        except (PayloadError, KeyError, TypeError) as error:
            raise _Unfit(str(error)) from error

    def begins(self, task: Task[Any, Any], work: Work) -> None:
        """Called just before the function runs."""

    async def abegins(self, task: Task[Any, Any], work: Work) -> None:
        """The same in an event loop."""
        self.begins(task, work)

    def ended(self, task: Task[Any, Any], work: Work, outcome: Outcome) -> None:
        """Called when a run of a known task has ended; where it raised, the error is still being handled."""

    async def aended(self, task: Task[Any, Any], work: Work, outcome: Outcome) -> None:
        """The same in an event loop."""
        self.ended(task, work, outcome)

    def has_kept(self, job: Job) -> bool:
        """Whether the store has the end that a run has written for its job; asked for those that `ended` tells."""
        return False

    def surroundings(self, task: Task[Any, Any], work: Work) -> AbstractContextManager[Any]:
        """What is in force while the function runs: an integration's application context."""
        return nullcontext()

    @contextmanager
    def context(self, task: Task[Any, Any], work: Work) -> Iterator[Context]:
        """What a function that takes a context is given; what it has not delivered yet goes at the end."""
        job = completion.as_started(work.job, self._clock.now_us())

        def complete(connection: Any, value: Any) -> None:
            completion.refuse_one_of_many(job)
            result = self.encode(task, job, [value])
            completion.complete(job, result, connection, self._clock.now_us(), notify=self._notify)

        context = Context(job, report, self._clock, lambda: job.claim in cancelled_here, complete)
        try:
            yield context
        finally:
            context.flush()

    def call(self, task: Task[Any, Any], context: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self.start(task, context, args, kwargs)
        return self.awaited(value) if task.is_async else value

    def awaited(self, coroutine: Any) -> Any:
        """What a coroutine gives, where no event loop runs the job."""
        return run_coroutine(coroutine)

    async def acall(self, task: Task[Any, Any], context: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self.start(task, context, args, kwargs)
        return await value if task.is_async else value

    def start(self, task: Task[Any, Any], context: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if task.settings.takes_context:
            args = (context, *args)
        return task.function(*args, **kwargs)

    def answer(self, task: Task[Any, Any], job: Job, values: list[Any]) -> Outcome:
        """What the function has answered. Raises PayloadError: the attempt fails, and nothing half is kept."""
        return completion.completed(job) or Outcome.succeeded(self.encode(task, job, values))

    def encode(self, task: Task[Any, Any], job: Job, values: list[Any]) -> str:
        """The result of a job from what its calls have returned. Raises PayloadError."""
        encoded = [task.encode_result(value, self._max_result_bytes) for value in values]
        return f"[{','.join(encoded)}]" if job.kind is Kind.PART else encoded[0]


class _Unfit(Exception):
    """The job could never run, whoever tries."""


class _Recording:
    """Turns whatever happens inside into an outcome."""

    def __init__(self, runner: Runner, work: Work) -> None:
        self.runner = runner
        self.work = work
        self.task: Task[Any, Any] | None = None
        self.outcome = Outcome.unfit(Failure("treadle.errors.TreadleError", "the run was not recorded"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if told := self._record(error):
            with self._unchanged_by_who_listens():
                self.runner.ended(*told)
        return not isinstance(error, KeyboardInterrupt)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if told := self._record(error):
            with self._unchanged_by_who_listens():
                await self.runner.aended(*told)
        return not isinstance(error, KeyboardInterrupt)

    def _record(self, error: BaseException | None) -> tuple[Task[Any, Any], Work, Outcome] | None:
        """Keep how the run has ended; returns what who listens here is to be told, if anything."""
        completed = completion.forget(self.work.job)
        if isinstance(error, KeyboardInterrupt):
            return None
        if error is not None:
            self.outcome = self._outcome_of(error)
        elif completed is not None:
            # To the worker what is true unless it was committed, which only the store can tell.
            self.outcome = self._outcome_of(completion.not_committed(self.work.job))
        if self.task is None:
            return None
        with self._unchanged_by_who_listens():
            is_kept = completed is not None and self.runner.has_kept(self.work.job)
            return self.task, self.work, completed if completed and is_kept else self.outcome
        return None

    @contextmanager
    def _unchanged_by_who_listens(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            logging.getLogger("treadle").exception("what follows the end of job %s raised", self.work.job.id)

    def _outcome_of(self, error: BaseException) -> Outcome:
        match error:
            case UnknownTask() if self.task is None:
                return Outcome.unknown_task(failure_of(error))
            case _Unfit():
                return Outcome.unfit(Failure("treadle.errors.PayloadError", str(error)))
            case Snooze():
                return Outcome.snoozed(error.after_s)
            case Reject():
                return Outcome.rejected(failure_of(error))
            case _:
                # Asked first: a rule that fails leaves a note on the error.
                retry_after_s = self._retry_after_s(error)
                return Outcome.raised(failure_of(reason_of(error)), retry_after_s)

    def _retry_after_s(self, error: BaseException) -> float | None:
        if self.task is None:
            return None
        return self.runner.retry_after_s(self.task.settings, self.work.job, error)


def whole_payload(part_results: Sequence[str]) -> str:
    """The payload of a whole: one argument, the list of all results in order. The JSON is joined unread."""
    inner = [result[1:-1] for result in part_results]
    return f'{{"args":[[{",".join(text for text in inner if text)}]],"kwargs":{{}}}}'


def reason_of(error: BaseException) -> BaseException:
    """What is kept of an error: of a Retry the error that it was raised from, if any."""
    cause = error.__cause__ if isinstance(error, Retry) else None
    return error if cause is None else cause


def failure_of(error: BaseException) -> Failure:
    """An error as it is kept: class, message, and its traceback from the user's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    told = "".join(traceback.format_exception(type(error), error, trace))
    # An exception's own text may hold what no UTF-8 can; it must not keep the failure from being told.
    message, told = (text.encode(errors="backslashreplace").decode() for text in (_text(error), told))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return Failure(name, message[:MAX_TRACEBACK_CHARACTERS], told[-MAX_TRACEBACK_CHARACTERS:])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be read)"


def gather(results: list[Any]) -> list[Any]:
    """What a `send_map` without `reduce` gives."""
    return results


_work = msgspec.msgpack.Decoder(Work)
_gather: Task[Any, Any] = Task(gather, name=GATHER)
_installed: Runner | None = None
_worker_slots = 0


def install(slots: int, make: Callable[..., Runner], *args: Any) -> None:
    """The initializer of a worker's children: make this process's runner. `slots`: how many such children there are."""
    global _installed, _worker_slots
    _installed, _worker_slots = make(*args), slots


def worker_slots() -> int:
    """How many children the worker has that this process is one of; 0 outside of such a child."""
    return _worker_slots


def run_packed(work: bytes) -> bytes:
    """Run a job with this child's runner; the outcome is packed as well."""
    return installed().run(_work.decode(work)).packed()


def installed() -> Runner:
    """This child's runner."""
    if _installed is None:
        raise RuntimeError("this process was not made ready to run jobs")
    return _installed
