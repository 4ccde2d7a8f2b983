"""What must be true of the store after every fault."""

from collections.abc import Iterable
from pathlib import Path

from tests.end_to_end.jobs import Jobs, lines

from treadle import codec
from treadle.job import UNANSWERED, Attempt, Job
from treadle.store.sqlite import SqliteStore


def is_all_done(jobs: Jobs) -> bool:
    """Whether no job waits or runs."""
    return all(state.is_finished for _, state in jobs.store.counts())


def assert_nothing_is_lost(jobs: Jobs, journal: Path, sent: Iterable[str]) -> None:
    """Each job that was sent is there, is in one final state, has run, and one of its ends was accepted, no more."""
    rows = {job.id: job for job in jobs.rows()}
    assert [id_ for id_ in sent if id_ not in rows] == [], "these were sent, and are gone"
    attempts, ran = jobs.attempts(), set(lines(journal))
    for id_, job in rows.items():
        assert job.state.is_finished, f"{id_} is {job.state}"
        assert key_of(job) in ran, f"{id_} has never run"
        _assert_one_end(job, attempts[id_])
    if isinstance(jobs.store, SqliteStore):
        with jobs.store.file.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _assert_one_end(job: Job, attempts: list[Attempt]) -> None:
    """The last run, and no other, is the one whose end was accepted as the job's; those before it gave no answer."""
    *earlier, last = attempts
    assert all(attempt.outcome in UNANSWERED for attempt in earlier), f"{job.id} was answered twice: {attempts}"
    assert last.ended_at_us == job.finished_at_us
    assert (last.outcome == "succeeded") == (job.state == "succeeded")
    assert job.attempt <= job.max_attempts
    assert sum(attempt.outcome == "crashed" for attempt in attempts) == job.crashes <= job.max_crashes + 1


def key_of(job: Job) -> str:
    """What each run of this job leaves in the journal."""
    return str(codec.decode(job.payload)["args"][1])
