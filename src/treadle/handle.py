"""What a sender holds: one job as it was when last looked at, and the verbs on it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from treadle.clock import US_PER_S, Clock, as_datetime
from treadle.errors import JobCancelled, JobFailed, JobNotFound, ResultExpired, RetryRefused, WouldDeadlock
from treadle.job import Attempt, Failure, Job, Kind, Message, Progress
from treadle.states import REDRIVEN, State
from treadle.store.contract import Part, Store

R = TypeVar("R")

LOOK_EVERY_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.1
"""Between the looks of a waiting coroutine, each pause half as long again."""


class JobHandle(Generic[R]):
    """One job: a snapshot, so that what is read from it fits together. `refresh()` gives a newer one."""

    def __init__(
        self,
        row: Job,
        store: Store,
        clock: Clock,
        decode: Callable[[Job], R],
        refuse_to_wait: Callable[[], None] = lambda: None,
        aside: Callable[[Callable[[], Any]], Awaitable[Any]] = asyncio.to_thread,
        is_unseen: Callable[[], bool] | None = None,
        after_retry: Callable[[Job], None] = lambda row: None,
    ) -> None:
        """`is_unseen`: whether a transaction of the caller's that sent it is still open."""
        self.row = row
        self._store = store
        self._clock = clock
        self._decode = decode
        self._refuse_to_wait = refuse_to_wait
        self._aside = aside
        self._is_unseen = is_unseen or (lambda: False)
        self._after_retry = after_retry

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def state(self) -> State:
        return self.row.state

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.row.task

    @property
    def queue(self) -> str:
        return self.row.queue

    @property
    def labels(self) -> dict[str, str]:
        return self.row.labels

    @property
    def progress(self) -> Progress:
        return self.row.progress

    @property
    def version(self) -> int:
        """Raised by every change of state, progress or messages."""
        return self.row.version

    @property
    def error(self) -> Failure | None:
        """Why it failed; None while it has not."""
        return self.row.failure

    @property
    def cancel_requested_at(self) -> datetime | None:
        """When somebody cancelled it while it ran; None where nobody has."""
        asked_at_us = self.row.cancel_requested_at_us
        return as_datetime(asked_at_us) if asked_at_us is not None else None

    @property
    def enqueued_at(self) -> datetime:
        return as_datetime(self.row.enqueued_at_us)

    @property
    def finished_at(self) -> datetime | None:
        return as_datetime(self.row.finished_at_us) if self.row.finished_at_us is not None else None

    @property
    def messages(self) -> list[Message]:
        """What the job sent so far, read now."""
        return self._store.messages(self.id)

    def messages_after(self, number: int) -> list[Message]:
        """What the job sent after the message of this number, read now."""
        return self._store.messages(self.id, number)

    @property
    def parts(self) -> list[Part]:
        """How the parts of a `send_map` stand, read now; none where it is one call."""
        return self._store.parts(self.id) if self.row.kind is Kind.WHOLE else []

    @property
    def attempts(self) -> list[Attempt]:
        """Its ended runs, read now."""
        return self._store.attempts([self.id]).get(self.id, [])

    def refresh(self) -> Self:
        """The job as it is now. Raises JobNotFound where it was pruned."""
        row = self._store.job(self.id)
        if row is None:
            raise JobNotFound(
                f"job {self.id} is not there: it was pruned, or its transaction rolled back or has not committed yet"
            )
        return type(self)(
            row, self._store, self._clock, self._decode, self._refuse_to_wait, self._aside,
            after_retry=self._after_retry,
        )  # fmt: skip

    def wait(self, timeout_s: float | None = None) -> Self:
        """The job once it has ended. Raises TimeoutError after `timeout_s`, WouldDeadlock where no end can come."""
        job = self._seen()
        if job.state.is_finished:
            return job
        self._refuse_to_wait()
        deadline_s = None if timeout_s is None else self._clock.monotonic_s() + timeout_s
        with self._store.wakeup() as wakeup:
            # Looked at once more: it may have ended before there was anybody to wake.
            while not (job := job.refresh()).state.is_finished:
                left_s = LOOK_EVERY_S if deadline_s is None else deadline_s - self._clock.monotonic_s()
                if left_s <= 0:
                    raise TimeoutError(f"job {self.id} is still {job.state} after {timeout_s} s")
                wakeup.wait(min(left_s, LOOK_EVERY_S))
        return job

    def _seen(self) -> Self:
        """As `refresh`. Raises WouldDeadlock where the transaction that sent it is still open on a caller's connection."""
        try:
            return self.refresh()
        except JobNotFound:
            if not self._is_unseen():
                raise
        if self.state.is_finished:
            # It has run inside the send, in immediate mode.
            return self
        raise WouldDeadlock(f"job {self.id} was sent in a transaction that is still open, where no worker can see it")

    def result(self, timeout_s: float | None = None) -> R:
        """What the function returned, waiting for it at most `timeout_s` seconds (None: as long as it takes).

        Raises JobFailed where it failed, JobCancelled where it was cancelled, ResultExpired where its result was not
        kept any longer or was forgotten, TimeoutError, and WouldDeadlock where waiting could never end: in a running event loop (use `aresult`), in the
        transaction that sent the job, in a job that holds the only slot.
        """
        return self.wait(timeout_s)._value()

    async def arefresh(self) -> Self:
        """`refresh` for a coroutine."""
        refreshed: Self = await self._aside(self.refresh)
        return refreshed

    async def aresult(self, timeout_s: float | None = None) -> R:
        """`result` for a coroutine."""
        async with asyncio.timeout(timeout_s):
            job: Self = await self._aside(self._seen)
            pause_s = FIRST_PAUSE_S
            while not job.state.is_finished:
                await asyncio.sleep(pause_s)
                job, pause_s = await job.arefresh(), min(pause_s * 1.5, LONGEST_PAUSE_S)
        return job._value()

    def _value(self) -> R:
        if self.state is State.CANCELLED:
            raise JobCancelled(f"job {self.id} ({self.task}) was cancelled")
        if self.state is State.FAILED:
            failure = self.error or Failure("treadle.errors.JobFailed", "no reason was kept")
            raise JobFailed(f"job {self.id} ({self.task}) failed: {failure}") from RemoteError(failure)
        if self.row.result is None:
            raise result_expired(self.row)
        return self._decode(self.row)

    def cancel(self) -> bool:
        """Cancel the job, and the parts of a `send_map`; False where it has ended.

        One that waits is cancelled now. One that runs is asked to end, which its worker sees within a
        second: in a process it is killed, as a coroutine it gets CancelledError at its next await, in a
        thread or inline at its next `context.progress`; without any it runs to its end. `wait` tells
        what came of it: the job is cancelled and never runs again, unless it gave its answer before.
        """
        return self.id in self._store.cancel([self.id], self._clock.now_us())

    def retry(self) -> Self:
        """Send a job that failed or was cancelled once more, under its id; gives it as it is then.

        It gets one attempt more where none is left, and its crashes are forgotten; what its earlier runs came to stays in
        `attempts`. Of a `send_map` those parts run again that did not succeed, and then the whole. An expiry counts no
        more. Raises RetryRefused where it has not ended or has succeeded, is a part of a whole, where another job has
        its unique key, or what its parts had returned is gone, or it was forgotten; JobNotFound where it was pruned. In the mode `immediate` it
        runs now, as with a send.
        """
        if self.id not in self._store.redrive([self.id], self._clock.now_us()):
            raise RetryRefused(f"job {self.id} ({self.task}) cannot be retried: {self.refresh()._why_not_retried()}")
        self._after_retry(self.refresh().row)
        return self.refresh()

    def _why_not_retried(self) -> str:
        row = self.row
        if row.state not in REDRIVEN:
            return f"it is {row.state}, and only a job that failed or was cancelled can be"
        if row.is_forgotten:
            return "it was forgotten, and with it what it was given: send it anew"
        if row.group_id is not None:
            return f"it is a part of job {row.group_id}: retry that one, and what did not succeed of it runs again"
        holder = self._store.unfinished(row.task, row.unique_key) if row.unique_key is not None else None
        if holder is not None:
            return f"job {holder.id} has its unique key {row.unique_key!r}: wait for the end of that one, or cancel it"
        if row.kind is not Kind.WHOLE:
            return "somebody had its unique key until just now: try again"
        return "a part of it still runs, which ends soon, or what one had returned is gone: then send it anew"

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.task} {self.state}>"


def result_expired(row: Job) -> ResultExpired:
    """What is said of a job that has succeeded, and whose result is gone."""
    if row.is_forgotten:
        return ResultExpired(f"the result of job {row.id} ({row.task}) was forgotten, with what it was given")
    kept = (
        "with that of its whole" if row.result_ttl_us is None else f"{row.result_ttl_us / US_PER_S:g} s after its end"
    )
    return ResultExpired(f"the result of job {row.id} ({row.task}) was dropped {kept}")


class RemoteError(Exception):
    """The error of another process, as it was told there; the cause of a JobFailed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return f"{self.failure}\n\n{self.failure.traceback}".rstrip()


def refuse_in_event_loop() -> None:
    """Raises WouldDeadlock in a thread whose event loop runs: to wait here is to stop it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WouldDeadlock("result() would stop the running event loop; use `await job.aresult()`")
