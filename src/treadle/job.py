"""The rows of the store, as frozen records, and what a run can end in.

A store makes `Job` rows and hands them out; nobody else changes a state. A run of a job gives an
`Outcome`, and `Ending.of` turns it into the row's next state: one constructor a transition.

With `gc=False`, since nothing in a row leads back to it: a busy worker holds hundreds, and the collector would look
at each again and again.
"""

import math
import os
import time
from enum import StrEnum
from typing import Any

import msgspec

from treadle.clock import US_PER_S
from treadle.states import NOT_STARTED, State

REASK_UNKNOWN_TASK_S = (2, 300)
"""First and longest wait before a worker looks again at a task that it does not know."""

LONGEST_WAIT_S = 100 * 366 * 86_400
"""A hundred years: what lies beyond is a mistake, and soon no 64-bit number of microseconds."""
FORGOTTEN = "(forgotten)"
"""What stands in the place of the text of an error that was forgotten."""
WORKER_LOST = "treadle.errors.WorkerLost"
EXPIRED = "treadle.errors.JobExpired"


def new_id() -> str:
    """A UUIDv7 (RFC 9562, 5.7): 36 characters that sort by the time of their making."""
    milliseconds = time.time_ns() // 1_000_000
    randomness = int.from_bytes(os.urandom(10))
    bits = (milliseconds << 80) | randomness
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Kind(StrEnum):
    """What a job's payload holds."""

    CALL = "call"
    """The arguments of one call."""
    PART = "part"
    """Some of the items of a `send_map`; the task is called with each of them."""
    WHOLE = "whole"
    """A `send_map` as a whole: blocked until its parts have ended, then called with their results."""


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far a running job is, as it says itself."""

    done: float = 0
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1, or None where no total is known."""
        return min(self.done / self.total, 1.0) if self.total else None


class Message(msgspec.Struct, frozen=True):
    """Something that a running job sent to whoever follows it; numbered from 1 in each job."""

    number: int
    sent_at_us: int
    body: Any


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error as it is kept: never the exception itself."""

    error_class: str
    """Module and qualified name, as in `builtins.ValueError`."""
    message: str
    traceback: str = ""

    def forgotten(self) -> "Failure":
        """The same without its text."""
        return Failure(self.error_class, FORGOTTEN)

    def __str__(self) -> str:
        return f"{self.error_class.removeprefix('builtins.')}: {self.message}"


class OutcomeKind(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    RAISED = "raised"
    """The function raised an error."""
    REJECTED = "rejected"
    """The function raised `Reject`: there is no use in another attempt."""
    SNOOZED = "snoozed"
    """The function raised `Snooze`: it is to be run again later."""
    UNFIT = "unfit"
    """It could never run: its payload is damaged or its arguments no longer fit."""
    TIMED_OUT = "timed_out"
    """It ran longer than its `timeout_s`, and its process was killed."""
    OUT_OF_MEMORY = "out_of_memory"
    """Its process grew by more than its `memory_mb`, and was killed."""
    CRASHED = "crashed"
    """The process died under it."""
    INTERRUPTED = "interrupted"
    """The worker was stopped before it ended."""
    CANCELLED = "cancelled"
    """Somebody cancelled the job, so the run was ended."""
    UNKNOWN_TASK = "unknown_task"
    """This process does not know the task; another may."""
    OTHER = "other"
    """A way that this version does not know: a newer one ran it."""

    @classmethod
    def _missing_(cls, value: object) -> "OutcomeKind | None":
        # While workers of two versions share a store, the older one reads attempts of the newer one.
        return cls.OTHER if isinstance(value, str) else None


UNANSWERED = frozenset({OutcomeKind.INTERRUPTED, OutcomeKind.CRASHED})
"""Runs that were cut off, for a reason that is not the job's: they say nothing of what it would have come to."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One run of a job, kept for ever as it was."""

    number: int
    worker_id: str
    started_at_us: int | None
    ended_at_us: int
    outcome: OutcomeKind
    failure: Failure | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request to run a task. Times are microseconds since 1970, UTC."""

    id: str
    task: str
    state: State
    payload: str
    """JSON, made and read by `treadle.codec`; empty where the job was forgotten."""
    kind: Kind = Kind.CALL
    queue: str = "default"
    pool: str = "processes"
    priority: int = 0
    """-100 to 100; the highest runs first."""
    run_at_us: int = 0
    """Not before this time."""
    attempt: int = 0
    """Runs that count: an interrupted, crashed or snoozed one was refunded."""
    max_attempts: int = 1
    crashes: int = 0
    max_crashes: int = 3
    timeout_s: float | None = None
    """How long a run may take; None: as long as it takes."""
    memory_mb: float | None = None
    """How much the process of a run may grow; None: without limit."""
    cores: int | None = None
    """How many slots of a worker a run takes up; one where None."""
    token: int = 0
    """The number of the claim. Who writes with another number writes nothing."""
    worker_id: str | None = None
    enqueued_at_us: int = 0
    started_at_us: int | None = None
    finished_at_us: int | None = None
    cancel_requested_at_us: int | None = None
    """When somebody asked to cancel it while it ran; it will not run again."""
    unique_key: str | None = None
    """Of the jobs of one task with one such key only one is unfinished."""
    concurrency_key: str | None = None
    """Of the jobs with one such key only one runs."""
    expires_at_us: int | None = None
    """It fails if it has not begun by then."""
    result_ttl_us: int | None = None
    """How long its result is kept after its end; None: as long as the job. That of a part goes with its whole's."""
    redriven_at_us: int | None = None
    """When it was last sent once more after its end."""
    group_id: str | None = None
    """The id of the whole that this part belongs to."""
    part: int = 0
    """Which part of its whole, counted from 0."""
    size: int = 1
    """How many items a part or a whole holds; 1 for a call."""
    alias: str = "default"
    """The settings it was sent through, where one process has several."""
    labels: dict[str, str] = {}
    headers: dict[str, str] = {}
    """What travels with a job beside its arguments: language, trace context, tenant."""
    result: str | None = None
    """JSON; None where it has not succeeded, or its result was not kept any longer."""
    failure: Failure | None = None
    progress: Progress = Progress()
    version: int = 0
    """Raised by every visible change: state, progress, message."""

    @property
    def limits(self) -> dict[str, Any]:
        """The limits that there are, as a pool's `call` takes them."""
        limits = {"timeout_s": self.timeout_s, "memory_mb": self.memory_mb, "cores": self.cores}
        return {name: value for name, value in limits.items() if value is not None}

    @property
    def sent_at_us(self) -> int:
        """When it was sent, or sent once more."""
        return self.redriven_at_us or self.enqueued_at_us

    def has_expired(self, now_us: int) -> bool:
        """Whether it had to begin before, and so never will."""
        return self.expires_at_us is not None and self.expires_at_us <= now_us and self.state in NOT_STARTED

    @property
    def is_forgotten(self) -> bool:
        """Whether what it was given and what it said were blanked: then it cannot run again."""
        return not self.payload

    @property
    def claim(self) -> "Claim":
        return Claim(self.id, self.token)

    def __repr__(self) -> str:
        # A repr ends up in logs, and what a job was given and what it returned may be secret.
        return f"<Job {self.id} {self.task} {self.state} attempt={self.attempt} token={self.token} v{self.version}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What the library Rich shows, likewise."""
        return [("id", self.id), ("task", self.task), ("state", self.state)]


class Claim(msgspec.Struct, frozen=True, gc=False):
    """The proof, carried by every write of a worker, that a job is still its own."""

    id: str
    token: int


class Report(msgspec.Struct, frozen=True, gc=False):
    """What a running job tells: its newest progress (or None) and its new messages."""

    claim: Claim
    progress: Progress | None
    messages: tuple[tuple[int, str], ...] = ()
    """When each was sent, and its body as JSON."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a run ended in, wherever it ran. Makes no decision and writes nothing."""

    kind: OutcomeKind
    result: str | None = None
    failure: Failure | None = None
    retry_after_s: float | None = None
    """How long until the job runs again: what its back-off answered to the error, or the task said; None: it does not."""

    def packed(self) -> bytes:
        """What `unpacked` reads."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpacked(cls, data: bytes) -> "Outcome":
        return _outcome.decode(data)

    @classmethod
    def succeeded(cls, result: str) -> "Outcome":
        return cls(OutcomeKind.SUCCEEDED, result=result)

    @classmethod
    def raised(cls, failure: Failure, retry_after_s: float | None) -> "Outcome":
        return cls(OutcomeKind.RAISED, failure=failure, retry_after_s=retry_after_s)

    @classmethod
    def snoozed(cls, after_s: float) -> "Outcome":
        return cls(OutcomeKind.SNOOZED, retry_after_s=after_s)

    @classmethod
    def rejected(cls, failure: Failure) -> "Outcome":
        return cls(OutcomeKind.REJECTED, failure=failure)

    @classmethod
    def unfit(cls, failure: Failure) -> "Outcome":
        return cls(OutcomeKind.UNFIT, failure=failure)

    @classmethod
    def timed_out(cls, failure: Failure, retry_after_s: float | None) -> "Outcome":
        return cls(OutcomeKind.TIMED_OUT, failure=failure, retry_after_s=retry_after_s)

    @classmethod
    def out_of_memory(cls, failure: Failure, retry_after_s: float | None) -> "Outcome":
        return cls(OutcomeKind.OUT_OF_MEMORY, failure=failure, retry_after_s=retry_after_s)

    @classmethod
    def crashed(cls, failure: Failure) -> "Outcome":
        return cls(OutcomeKind.CRASHED, failure=failure)

    @classmethod
    def interrupted(cls) -> "Outcome":
        reason = Failure(WORKER_LOST, "the worker was stopped while the job ran")
        return cls(OutcomeKind.INTERRUPTED, failure=reason)

    @classmethod
    def cancelled(cls) -> "Outcome":
        return cls(OutcomeKind.CANCELLED)

    @classmethod
    def unknown_task(cls, failure: Failure) -> "Outcome":
        return cls(OutcomeKind.UNKNOWN_TASK, failure=failure)


_outcome = msgspec.msgpack.Decoder(Outcome)


def _wait_us(wait_s: float) -> int:
    return round(min(max(wait_s, 0.0), LONGEST_WAIT_S) * US_PER_S)


class Ending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a job's row changes when a run ends: what `Store.finish` writes."""

    job: Job
    outcome: Outcome
    ended_at_us: int
    state: State
    run_at_us: int
    attempt: int
    crashes: int
    failure: Failure | None = None

    @classmethod
    def of(cls, job: Job, outcome: Outcome, now_us: int, unknown_task_s: float) -> "Ending":
        """The ending that an outcome means. `unknown_task_s`: how long a job waits for its task."""
        ending = cls._of(job, outcome, now_us, unknown_task_s)
        return ending if job.cancel_requested_at_us is None else ending.or_cancelled()

    @classmethod
    def _of(cls, job: Job, outcome: Outcome, now_us: int, unknown_task_s: float) -> "Ending":
        match outcome.kind:
            case OutcomeKind.SUCCEEDED:
                return cls.succeed(job, outcome, now_us)
            case OutcomeKind.CANCELLED:
                return cls.cancel(job, outcome, now_us)
            case OutcomeKind.RAISED | OutcomeKind.TIMED_OUT | OutcomeKind.OUT_OF_MEMORY if (
                outcome.retry_after_s is not None
            ):
                return cls.retry(job, outcome, now_us)
            case OutcomeKind.SNOOZED:
                return cls.snooze(job, outcome, now_us)
            case OutcomeKind.REJECTED:
                return cls.reject(job, outcome, now_us)
            case OutcomeKind.CRASHED:
                return cls.crash(job, outcome, now_us)
            case OutcomeKind.INTERRUPTED:
                return cls.interrupt(job, outcome, now_us)
            case OutcomeKind.UNKNOWN_TASK if now_us - job.sent_at_us < unknown_task_s * US_PER_S:
                return cls.postpone(job, outcome, now_us)
            case _:
                return cls.fail(job, outcome, now_us)

    @classmethod
    def succeed(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        return cls._make(job, outcome, now_us, State.SUCCEEDED)

    @classmethod
    def fail(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        return cls._make(job, outcome, now_us, State.FAILED, failure=outcome.failure)

    @classmethod
    def cancel(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        return cls._make(job, outcome, now_us, State.CANCELLED)

    @classmethod
    def retry(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        """Wait and try again, if an attempt is left."""
        wait_s = outcome.retry_after_s or 0.0
        if job.attempt >= job.max_attempts or not math.isfinite(wait_s):
            return cls.fail(job, outcome, now_us)
        return cls._make(job, outcome, now_us, State.SCHEDULED, run_at_us=now_us + _wait_us(wait_s))

    @classmethod
    def snooze(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        """Refund the attempt and run again when the task said, however few attempts are left."""
        run_at_us = now_us + _wait_us(outcome.retry_after_s or 0.0)
        return cls._make(job, outcome, now_us, State.SCHEDULED, run_at_us=run_at_us, refund=1)

    @classmethod
    def reject(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        """Fail with the task's reason, whatever attempts are left."""
        return cls._make(job, outcome, now_us, State.FAILED, failure=outcome.failure)

    @classmethod
    def postpone(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        """Refund the attempt and look again later, each time after twice as long."""
        shortest_s, longest_s = REASK_UNKNOWN_TASK_S
        waited_s = (now_us - job.sent_at_us) / US_PER_S
        run_at_us = now_us + round(min(max(waited_s, shortest_s), longest_s) * US_PER_S)
        return cls._make(job, outcome, now_us, State.SCHEDULED, run_at_us=run_at_us, refund=1)

    @classmethod
    def interrupt(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        """Refund the attempt; a job that may run at most once (`max_crashes=0`) fails instead."""
        if job.max_crashes == 0 and job.started_at_us is not None:
            return cls.fail(job, outcome, now_us)
        return cls._make(job, outcome, now_us, State.READY, refund=1)

    @classmethod
    def crash(cls, job: Job, outcome: Outcome, now_us: int) -> "Ending":
        """Refund the attempt and count the crash; over `max_crashes` the job fails."""
        crashes = job.crashes + 1
        if crashes > job.max_crashes:
            cause = outcome.failure.message if outcome.failure else "no cause is known"
            reason = Failure(WORKER_LOST, f"{cause} ({crashes} crashes, and max_crashes is {job.max_crashes})")
            return cls._make(job, outcome, now_us, State.FAILED, crashes=crashes, failure=reason)
        return cls._make(job, outcome, now_us, State.READY, crashes=crashes, refund=1)

    @classmethod
    def _make(
        cls,
        job: Job,
        outcome: Outcome,
        now_us: int,
        state: State,
        *,
        run_at_us: int | None = None,
        crashes: int | None = None,
        refund: int = 0,
        failure: Failure | None = None,
    ) -> "Ending":
        return cls(
            job=job,
            outcome=outcome,
            ended_at_us=now_us,
            state=state,
            run_at_us=job.run_at_us if run_at_us is None else run_at_us,
            attempt=job.attempt - refund,
            crashes=job.crashes if crashes is None else crashes,
            failure=failure,
        )

    @classmethod
    def of_lost_worker(cls, job: Job, now_us: int) -> "Ending":
        """What a rescue does with a job that had started under a worker that is dead now."""
        reason = f"worker {job.worker_id} died while the job ran"
        ending = cls.crash(job, Outcome.crashed(Failure(WORKER_LOST, reason)), now_us)
        return ending if job.cancel_requested_at_us is None else ending.or_cancelled()

    @property
    def yields_to_cancel(self) -> bool:
        """Whether a cancel that was asked for has the last word: no answer of the function's own would be lost."""
        return not self.state.is_finished or self.outcome.kind in UNANSWERED

    def or_cancelled(self) -> "Ending":
        """The ending of a job whose cancel was asked for: it never runs again, but its own answer stands."""
        if not self.yields_to_cancel:
            return self
        return msgspec.structs.replace(self, state=State.CANCELLED, run_at_us=self.job.run_at_us, failure=None)

    @property
    def finished_at_us(self) -> int | None:
        return self.ended_at_us if self.state.is_finished else None
