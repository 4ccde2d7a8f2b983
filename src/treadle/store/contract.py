"""What every store can do, in job verbs that take lists.

A store is the only authority on jobs: it applies each transition in one transaction, guarded by what
the job's row says now. Several processes may call it at once. `treadle.testing.store_contract` is the
suite that each implementation passes; make your own store and run it too.

Times are microseconds since 1970, UTC. Every verb raises a `StoreError` where the store could not do
it, and then nothing of it was done.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from treadle.clock import as_datetime
from treadle.job import EXPIRED, Attempt, Claim, Ending, Failure, Job, Message, Report
from treadle.states import State


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the store knows it."""

    id: str
    host: str
    pid: int
    kind: str
    """`process` or `embedded`."""
    started_at_us: int
    last_seen_at_us: int
    lease_until_us: int
    queues: tuple[str, ...] = ()
    """The queues that it serves; empty: all."""


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as the store knows it."""

    name: str
    cron: str
    timezone: str
    task: str
    seen_at_us: int
    """The tick that was last seen to; at first the time from which on it is seen to."""
    last_job_id: str | None = None
    """The job that was last sent for it."""


class Part(msgspec.Struct, frozen=True):
    """A part of a `send_map` as its follower sees it."""

    state: State
    size: int
    """How many items it holds."""
    started_at_us: int | None = None
    finished_at_us: int | None = None


class Enqueued(msgspec.Struct, frozen=True):
    """What has become of jobs that were sent, where it is not that they are kept and nothing else."""

    stand_ins: Mapping[str, Job] = {}
    """Who stands in for each job that was not kept, by the id of that job."""
    expired: tuple[str, ...] = ()
    """The jobs that had the unique key of one of these, had expired, and have failed now."""


class Forgotten(msgspec.Struct, frozen=True):
    """What came of a wish to forget jobs."""

    forgotten: int = 0
    """How many were forgotten now; those that were before do not count again."""
    unfinished: int = 0
    """How many were left, since they have not ended, or are parts of a whole that has not, and needs them."""

    def __add__(self, other: "Forgotten") -> "Forgotten":
        return Forgotten(self.forgotten + other.forgotten, self.unfinished + other.unfinished)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list; None: any."""

    state: State | None = None
    task: str | None = None
    queue: str | None = None
    labels: dict[str, str] = {}
    """Each of these labels must be there with this value."""
    limit: int = 50
    newest_first: bool = True


class Wakeup(ABC):
    """Waits until the store may have changed. One thread waits; any thread may wake it."""

    @abstractmethod
    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as the store may have changed or `wake` was called; False after `timeout_s`."""

    @abstractmethod
    def wake(self) -> None:
        """End the present `wait`, or the next one."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store(ABC):
    """Keeps jobs. See the module for what holds of every verb."""

    alive_folder: Path | None = None
    """Where workers of this host hold the locks that show that they live; None: leases alone decide."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the tables, or check that they are of a version that this code understands."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All verbs that this thread calls inside take effect together, or not at all."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether this thread is inside `transaction`, so that no other connection sees what it wrote."""

    @abstractmethod
    def wakeup(self) -> Wakeup:
        """A new waiter for changes."""

    @abstractmethod
    def secret(self) -> str:
        """A random key, made once and the same for every process that uses this store."""

    # Sending and reading

    @abstractmethod
    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Keep new jobs, each in the state it carries; a whole comes in one list with its parts.

        A job with a `unique_key` is not kept where an unfinished job of its task has that key, in the store or earlier
        in the list, nor are the parts of a whole that is not kept. One that has expired by the time the job was sent
        fails now, as by `expire`, and its key is free. What stands in for a job that was not kept is the
        unfinished one, for a part what stands in for its whole.
        """

    @abstractmethod
    def cancel(self, ids: Sequence[str], now_us: int) -> set[str]:
        """Cancel those of these jobs that have not started, and ask for the end of those that run.

        With a whole that is blocked go its parts, likewise. A job that was asked to end does not run
        again: whatever else would follow its run, it is cancelled then; only an answer of the
        function's own, a value or an error, stands. Returns the ids, among those given, that were
        cancelled or asked to end; not those of finished jobs.
        """

    @abstractmethod
    def redrive(self, ids: Sequence[str], now_us: int) -> set[str]:
        """Send jobs that failed or were cancelled once more, under their ids; returns those that were.

        Each is ready, with the attempts it had, one more granted where none is left, and else as a new one: without crashes, reason,
        progress, expiry or wish to cancel. A whole goes with those of its parts that did not succeed, and is blocked
        until they have ended.

        Left out are jobs that have not ended or have succeeded, parts by themselves, wholes of which a part still runs
        or has left no result, jobs that were forgotten, or of which a part was, and jobs whose unique key an unfinished one has; of several given with one key one is sent.
        """

    @abstractmethod
    def unfinished(self, task: str, unique_key: str) -> Job | None:
        """The unfinished job of this task that has this unique key."""

    @abstractmethod
    def cancel_requests(self, worker_id: str) -> list[Claim]:
        """The runs of this worker that somebody has asked to end; cheap, for it is asked again and again."""

    @abstractmethod
    def jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        """The jobs with these ids; unknown ids are left out."""

    @abstractmethod
    def find(self, query: Query) -> list[Job]:
        """The jobs that fit."""

    @abstractmethod
    def attempts(self, ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """The ended runs of each job, oldest first."""

    @abstractmethod
    def messages(self, job_id: str, after: int = 0) -> list[Message]:
        """What a job sent, from number `after` + 1 on."""

    @abstractmethod
    def part_results(self, whole_ids: Sequence[str]) -> dict[str, list[str]]:
        """The JSON results of the parts of each whole, in the order of the parts."""

    @abstractmethod
    def parts(self, whole_id: str) -> list[Part]:
        """How the parts of a whole stand, in their order; for any other job none."""

    @abstractmethod
    def item_s(self, task: str) -> float | None:
        """How many seconds an item of this task took in the last `send_map` whose parts all succeeded; None: not known."""

    @abstractmethod
    def counts(self) -> dict[tuple[str, State], int]:
        """How many jobs each queue has in each state."""

    # Working

    @abstractmethod
    def claim(
        self, worker_id: str, limit: int, now_us: int, *, pool: str, queues: Sequence[str] = (), starts: bool
    ) -> list[Job]:
        """Take up to `limit` ready jobs of a pool, the most urgent first, each with a new token.

        A worker that is not registered, or that a rescue has forgotten, gets none: nobody would rescue its claims.

        Of the jobs with one `concurrency_key`, of whatever task, queue or pool, only one runs: those whose key is taken
        are passed over, and of one key one is taken. What another is claiming at the same time may be passed over, too;
        where a claim is filled, what has a key and came in the last moments; and where very many keys wait, those far
        behind may come by turns.

        `queues`: only these, in this order; empty: all, alike. `starts` says that the jobs will be
        started at once, and stamps `started_at_us`. Without it the claim ends before the first job that must not wait in
        a pool, so that the others do not pass by it: one with a free key, or one that may run at most once
        (`max_crashes` 0), since what waits in a pool may have started, for all the store knows.
        Jobs of a paused queue are not taken, nor those that have expired, however late `expire` may be.
        """

    @abstractmethod
    def mark_started(self, claims: Sequence[tuple[Claim, int]]) -> None:
        """Stamp when prefetched jobs were started."""

    @abstractmethod
    def report(self, reports: Sequence[Report], now_us: int) -> None:
        """Keep the progress and the messages of runs whose claim still holds, or who have made their job succeed.

        For a run may write its end itself, faster than its worker what it has told before.
        """

    @abstractmethod
    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        """Apply the endings of runs whose claim still holds, and return those claims.

        Where a cancel was asked for, what is applied is `ending.or_cancelled()`.

        An ending whose claim does not hold changes nothing: another run was begun, or rescue was
        faster. Writes each attempt in the same transaction, and unblocks a whole whose last part
        has ended: it becomes ready, or fails where a part did not succeed. What `item_s` tells is
        measured then.
        """

    @abstractmethod
    def release(self, claims: Sequence[Claim], now_us: int) -> None:
        """Give back claimed jobs that were never started, as if they had not been claimed.

        Those that somebody has asked to cancel meanwhile are cancelled.
        """

    # Keeping

    @abstractmethod
    def register(self, worker: WorkerRow) -> None:
        """Make a worker known, before its first claim."""

    @abstractmethod
    def heartbeat(self, worker_id: str, now_us: int, lease_until_us: int) -> bool:
        """Prolong a worker's lease. False: it is not known (any more) and must register again."""

    @abstractmethod
    def deregister(self, worker_ids: Sequence[str]) -> None:
        """Forget workers that have left; not one that still holds a job, which only a rescue could take back."""

    @abstractmethod
    def workers(self) -> list[WorkerRow]: ...

    @abstractmethod
    def rescue(self, worker_ids: Sequence[str], now_us: int) -> list[Ending]:
        """Take back the running jobs of workers that are dead, and forget these workers.

        A job that had started counts a crash and is ready again, or fails over `max_crashes`; one
        that had not started is refunded. Safe to call from any number of processes at once.
        """

    @abstractmethod
    def promote(self, now_us: int, limit: int) -> int:
        """Make scheduled jobs ready whose time has come, the earliest first, at most `limit`; returns how many."""

    @abstractmethod
    def schedules(self) -> list[ScheduleRow]:
        """All that were ever declared and not forgotten, by name."""

    @abstractmethod
    def keep_schedules(self, schedules: Sequence[ScheduleRow]) -> None:
        """Make schedules known; safe to call from any number of processes at once.

        One that is there goes on from where it is. Where its cron text or its time zone is another now, it begins
        anew: from the time given, but never before the one that it was seen to.
        """

    @abstractmethod
    def move_schedule(self, name: str, seen_at_us: int, to_us: int, job_id: str | None = None) -> bool:
        """Move the time that a schedule was seen to, if it still is `seen_at_us`; False: somebody else has.

        Called in one transaction with the sending of the job `job_id` (None: nothing is sent), so that of all who try
        at once one sends it.
        """

    @abstractmethod
    def forget_schedules(self, names: Sequence[str]) -> None:
        """Delete these schedules; the jobs that were sent for them stay."""

    @abstractmethod
    def expire(self, now_us: int, limit: int) -> list[str]:
        """Fail jobs that have not begun by their `expires_at_us`, at most `limit`; returns their ids.

        Those waited for their time, for a worker, for another attempt, or for other jobs; what runs goes on. Each fails
        with JobExpired as its reason, without an attempt. With a whole its open parts are cancelled; the whole of a
        part is told, as of any end. Cheap where there is nothing to do.
        """

    @abstractmethod
    def forget_results(self, now_us: int, limit: int) -> int:
        """Drop results that were to be kept for `result_ttl_us` only, at most those of `limit` jobs; returns of how many.

        The job stays, succeeded and without a result. With that of a whole go those of its parts; until then a part
        keeps its own, whatever its `result_ttl_us`. Cheap where there is nothing to do.
        """

    @abstractmethod
    def labelled(self, labels: Mapping[str, str], limit: int, after: str = "") -> tuple[list[str], str | None]:
        """Of the next `limit` jobs after this id, in the order of their ids, those that have all these labels.

        Given with the id of the last that was looked at, None where there were no more: so that many jobs are looked
        through in steps, of which none takes long.
        """

    @abstractmethod
    def forget(self, ids: Sequence[str]) -> Forgotten:
        """Blank what was given to those of these jobs that have ended, and what they said.

        That is their payload, which is empty then, result, keys, messages, the text of their progress, and those of
        their errors and of the errors of their attempts, of which the class is kept (`Failure.forgotten`). The rest of
        the row stays: the state, the times and the labels. Such a job is not sent once more, and what its run has told
        before its end and comes later is dropped. Ids that are not there count nowhere.
        """

    @abstractmethod
    def pause(self, queues: Sequence[str], now_us: int) -> set[str]:
        """Let no more jobs of these queues be claimed; returns those that were not paused before.

        What is sent to them is kept, and what runs goes on. A claim that is on its way may still be taken.
        """

    @abstractmethod
    def resume(self, queues: Sequence[str]) -> set[str]:
        """Let the jobs of these queues be claimed again; returns those that were paused."""

    @abstractmethod
    def paused_queues(self) -> dict[str, int]:
        """The paused queues, each with the time at which it was paused."""

    @abstractmethod
    def prune(self, succeeded_before_us: int, failed_before_us: int, limit: int) -> int:
        """Delete finished jobs that ended before these times, at most `limit`; returns how many."""

    @abstractmethod
    def upkeep(self) -> None:
        """What the store itself needs once in a while; quick where there is nothing to do."""

    def job(self, job_id: str) -> Job | None:
        """The job with this id, or None."""
        return self.jobs([job_id]).get(job_id)


MOST_NAMED = 10
"""How many bad parts of a whole its failure names."""


def failure_of_expired(expires_at_us: int) -> Failure:
    """Why a job fails that has not begun in time."""
    moment = as_datetime(expires_at_us).isoformat(timespec="seconds")
    return Failure(EXPIRED, f"it had not begun by {moment}")


def failure_of_whole(bad_parts: Mapping[int, Failure | None]) -> Failure:
    """Why a whole fails: which of its parts did, counted from 0, and why the first of them did (None: cancelled)."""
    numbers = sorted(bad_parts)
    named = ", ".join(map(str, numbers[:MOST_NAMED]))
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    count = f"{len(numbers)} parts did not succeed ({named}{more})" if len(numbers) > 1 else "1 part did not succeed"
    reason = bad_parts[numbers[0]] or "cancelled"
    return Failure("treadle.errors.JobFailed", f"{count}; part {numbers[0]}: {reason}")
