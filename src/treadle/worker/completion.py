"""A run that ends its own job, in a transaction of the caller's: `context.complete_in`.

The end is written on the caller's connection by the verb that writes every end, `finish`, guarded by the claim. So
whoever rescues the job or ends it otherwise is told by the store that its claim does not hold, and nothing has to be
agreed upon between the run and its worker. What the run tells its worker in the end is what is true if the transaction
was not committed; if it was, the worker finds that refused and the job succeeded under the run's own claim.
"""

import contextlib
from typing import Any, NamedTuple

import msgspec

from treadle.errors import ClaimLost, CompletionError, NotCommitted
from treadle.job import Claim, Ending, Job, Kind, Outcome
from treadle.store.joining import driver_connection, is_open, join


class _Completion(NamedTuple):
    """An end that a run has written, and the driver's connection that it is written on."""

    outcome: Outcome
    connection: Any


_completed: dict[Claim, _Completion] = {}
"""What runs in this process have written as the ends of their jobs, until they have ended."""

CALLER = "inline-"
"""How the worker of jobs is named that are run inside a call, as in the mode `immediate`: there the caller may have begun
the transaction, and nobody else waits for its end."""


def complete(job: Job, result: str, connection: Any, now_us: int, *, notify: bool) -> None:
    """Write the end of a job that runs. Raises ClaimLost, CannotJoin or another StoreError."""
    outcome = Outcome.succeeded(result)
    if not join(connection, notify=notify).finish([Ending.succeed(job, outcome, now_us)]):
        raise ClaimLost(
            f"job {job.id} is not held by this run any more, so its end was not written: it was taken back from the "
            "worker, or was completed before; roll back, since another run may do the same work"
        )
    _completed[job.claim] = _Completion(outcome, driver_connection(connection))


def refuse_one_of_many(job: Job) -> None:
    """Raises CompletionError where one call is only a part of the run."""
    if job.kind is Kind.PART and job.size > 1:
        raise CompletionError(
            f"job {job.id} is a part with {job.size} items, and one of them cannot end it: give each item a part of its "
            "own with send_map(…, parts=len(items))"
        )


def as_started(job: Job, now_us: int) -> Job:
    """The job with the time of its start, which is not stamped yet in the row of one that was prefetched."""
    return job if job.started_at_us is not None else msgspec.structs.replace(job, started_at_us=now_us)


def completed(job: Job) -> Outcome | None:
    """What this run has written as the end of its job, committed or not."""
    found = _completed.get(job.claim)
    return None if found is None else found.outcome


def forget(job: Job) -> Outcome | None:
    """The run has ended. Returns what it had written as the end of its job, committed or not."""
    found = _completed.pop(job.claim, None)
    if found is None:
        return None
    if not is_of_caller(job):
        _roll_back(found.connection)
    return found.outcome


def is_of_caller(job: Job) -> bool:
    """Whether the job is run inside a call of the application's own."""
    return (job.worker_id or "").startswith(CALLER)


def _roll_back(connection: Any) -> None:
    """End a transaction that the run has left open: it locks the job's row, which its worker is about to write."""
    # A connection that cannot roll back is one that has lost its transaction, or one that its owner will close.
    with contextlib.suppress(Exception):
        if is_open(connection):
            connection.rollback()


def not_committed(job: Job) -> NotCommitted:
    return NotCommitted(
        f"job {job.id} called complete_in, and its function returned without a commit of that transaction, so nothing "
        "in it was kept: commit before the function returns"
    )
