"""What must be true of a row of a store: by itself, after the row before it, and beside what the model says."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from treadle.job import Attempt, Job, OutcomeKind
from treadle.states import State, is_allowed
from treadle.testing.store_model import Row


def check_alone(job: Job) -> None:
    """What holds of every row, whatever has happened."""
    assert (job.finished_at_us is not None) == job.state.is_finished, f"finished at a time, or not: {job}"
    assert (job.worker_id is not None) == (job.state is State.RUNNING), f"running under a worker, or not: {job}"
    assert job.result is None or job.state is State.SUCCEEDED, f"a result and no success: {job}"
    assert (job.failure is not None) == (job.state is State.FAILED), f"a reason and no failure, or the reverse: {job}"
    assert not job.is_forgotten or job.state.is_finished, f"forgotten, and has not ended: {job}"
    assert job.token > 0 or job.state is not State.RUNNING, f"running without a token: {job}"


def check_together(jobs: Iterable[Job]) -> None:
    """What holds of all rows beside each other."""
    unique = Counter((job.task, job.unique_key) for job in jobs if job.unique_key and not job.state.is_finished)
    assert all(count == 1 for count in unique.values()), f"more than one unfinished job with one unique key: {unique}"
    exclusive = Counter(job.concurrency_key for job in jobs if job.concurrency_key and job.state is State.RUNNING)
    assert all(count == 1 for count in exclusive.values()), f"more than one runs with one key: {exclusive}"


def check_way(before: Job | None, job: Job) -> None:
    """One step takes a job at most one way of the table, and never back in token or version."""
    source = before.state if before else None
    assert job.state is source or is_allowed(source, job.state), f"from {source} to {job.state}: {job}"
    if before is not None:
        is_claimed = (source, job.state) == (State.READY, State.RUNNING)
        assert job.token == before.token + is_claimed, f"the token was {before.token}: {job}"
        assert job == before or job.version > before.version, f"changed under one version, {before.version}: {job}"


def check_row(job: Job, attempts: Sequence[Attempt], expected: Row) -> None:
    """The row is that of the model, with one attempt for each accepted run."""
    assert _told(job) == {name: getattr(expected, name) for name in _told(job)}
    assert (job.cancel_requested_at_us is not None) == expected.is_unwanted
    outcomes: list[OutcomeKind] = [attempt.outcome for attempt in attempts]
    assert outcomes == expected.outcomes, f"{job.id} had runs that ended {outcomes}, not {expected.outcomes}"


def _told(job: Job) -> dict[str, Any]:
    names = (
        "state", "run_at_us", "attempt", "max_attempts", "crashes", "redriven_at_us", "expires_at_us", "token", "worker_id", "started_at_us", "finished_at_us", "result", "is_forgotten",
        "progress",
    )  # fmt: skip
    return {name: getattr(job, name) for name in names}
