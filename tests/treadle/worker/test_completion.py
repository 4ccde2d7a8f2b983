"""A run ends its own job in a transaction of its own, with its rows: both are kept once, or not at all."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests import completing
from tests.helpers import PATIENCE_S, eventually, working

from treadle import JobFailed, JobHandle, State, Treadle
from treadle.clock import SystemClock
from treadle.events import Event, JobEnded, LateResultRefused
from treadle.job import OutcomeKind
from treadle.store.contract import WorkerRow
from treadle.task import Context
from treadle.testing.store_contract import make_worker
from treadle.worker.execution import Work


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


@pytest.fixture
def app(url: str) -> Iterator[Treadle]:
    """An application whose database has a table of the tasks' own."""
    app = Treadle(url, registry=completing.app.registry, app="tests.completing:app", concurrency=1)
    app.store.counts()
    with completing.connected(url) as connection:
        connection.execute("CREATE TABLE own (name TEXT)")
        connection.commit()
    yield app
    app.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A line for each run."""
    return tmp_path / "journal"


@pytest.fixture
def events(app: Treadle) -> list[Event]:
    events: list[Event] = []
    app.events.subscribe(events.append)
    return events


def paid(url: str) -> int:
    """How many rows the runs have left."""
    with completing.connected(url) as connection:
        return int(connection.execute("SELECT count(*) FROM own").fetchone()[0])


def outcomes(job: JobHandle[Any]) -> list[str]:
    return [str(attempt.outcome) for attempt in job.attempts]


def told(events: list[Event]) -> list[OutcomeKind]:
    """What was told of the ends of runs, none of them as late."""
    assert not any(isinstance(event, LateResultRefused) for event in events)
    return [event.outcome.kind for event in events if isinstance(event, JobEnded)]


@pytest.mark.parametrize("pool", ["processes", "threads", "inline"])
def test_the_end_of_a_job_is_kept_with_its_rows(
    app: Treadle, url: str, journal: Path, events: list[Event], pool: str
) -> None:
    """Once, with the value that was given, whatever the function returns; and it is told like any other."""
    with working(app):
        job = app.send_function(completing.pay.options(pool=pool), url, str(journal))
        assert job.result(PATIENCE_S) == {"paid": True}
        eventually(lambda: told(events))
    (attempt,) = job.attempts
    assert (attempt.outcome, attempt.started_at_us is not None) == (OutcomeKind.SUCCEEDED, True)
    assert (paid(url), told(events)) == (1, [OutcomeKind.SUCCEEDED])


@pytest.mark.parametrize("task", [completing.pay_soon, completing.pay_by_session], ids=["coroutine", "session"])
def test_coroutines_and_sessions_end_their_jobs_too(app: Treadle, url: str, task: Any) -> None:
    """A coroutine by a connection that is not asynchronous, a task by a Session of SQLAlchemy."""
    with working(app):
        assert app.send_function(task, url).result(PATIENCE_S) in ("soon", "by session")
    assert paid(url) == 1


def test_what_was_told_before_the_end_is_kept(app: Treadle, url: str, journal: Path) -> None:
    """Although the end overtakes it."""
    with working(app):
        job = app.send_function(completing.pay, url, str(journal))
        job.wait(PATIENCE_S)
        eventually(lambda: [message.body for message in job.messages] == ["paid"])
    assert job.refresh().progress.message == "paid"


def test_a_process_that_is_killed_before_the_commit_has_done_nothing(
    app: Treadle, url: str, journal: Path, events: list[Event]
) -> None:
    """The job runs again, and its row is there once."""
    with working(app):
        job = app.send_function(completing.pay, url, str(journal), fault="killed before the commit")
        assert job.result(PATIENCE_S) == {"paid": True}
        eventually(lambda: len(told(events)) == 2)
    assert (outcomes(job), paid(url)) == (["crashed", "succeeded"], 1)


def test_a_process_that_is_killed_after_the_commit_has_done_all(
    app: Treadle, url: str, journal: Path, events: list[Event]
) -> None:
    """The job has succeeded, and does not run again."""
    with working(app):
        job = app.send_function(completing.pay, url, str(journal), fault="killed after the commit")
        assert job.result(PATIENCE_S) == {"paid": True}
        eventually(lambda: told(events))
    assert (outcomes(job), paid(url)) == (["succeeded"], 1)
    assert (told(events), journal.read_text()) == ([OutcomeKind.SUCCEEDED], "run\n")


def test_an_error_before_the_commit_is_an_error_like_any_other(app: Treadle, url: str, journal: Path) -> None:
    """It is tried again."""
    with working(app):
        job = app.send_function(completing.pay, url, str(journal), fault="raises before the commit")
        assert job.result(PATIENCE_S) == {"paid": True}
    assert (outcomes(job), paid(url)) == (["raised", "succeeded"], 1)


def test_an_error_after_the_commit_comes_too_late(app: Treadle, url: str, journal: Path, events: list[Event]) -> None:
    """The job has succeeded already."""
    with working(app):
        job = app.send_function(completing.pay, url, str(journal), fault="raises after the commit")
        assert job.result(PATIENCE_S) == {"paid": True}
        eventually(lambda: told(events))
    assert (outcomes(job), paid(url), told(events)) == (["succeeded"], 1, [OutcomeKind.SUCCEEDED])


def test_a_function_that_does_not_commit_has_failed(app: Treadle, url: str, journal: Path) -> None:
    """It returns as if all were well, and nothing of it was kept; it is tried again while attempts are left."""
    with working(app):
        job = app.send_function(completing.pay.options(max_attempts=1), url, str(journal), fault="no commit")
        with pytest.raises(JobFailed, match=r"NotCommitted: job .* returned without a commit"):
            job.result(PATIENCE_S)
    assert paid(url) == 0


@pytest.fixture
def kept() -> Iterator[list[Any]]:
    """The connections that runs in this process have kept."""
    yield completing.kept
    while completing.kept:
        completing.kept.pop().close()


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("pool", ["processes", "threads"])
def test_a_transaction_that_was_left_open_holds_nobody_up(app: Treadle, url: str, pool: str, raises: bool) -> None:
    """It is rolled back, though its connection stays: it has locked the row that the worker writes next."""
    with working(app):
        job = app.send_function(completing.pay_and_forget.options(pool=pool), url, raises)
        with pytest.raises(JobFailed, match="of no interest" if raises else "NotCommitted"):
            job.result(PATIENCE_S)
    assert paid(url) == 0


# One run, in this thread


def begin(app: Treadle, url: str, journal: Path) -> tuple[JobHandle[Any], Work]:
    """A job that a worker has claimed."""
    job = app.send_function(completing.pay, url, str(journal))
    app.store.register(worker())
    (row,) = app.store.claim("worker", 1, SystemClock().now_us(), pool="processes", starts=True)
    return job, Work(row)


def worker() -> WorkerRow:
    return make_worker("worker")


def test_a_run_that_has_lost_its_job_keeps_nothing(app: Treadle, url: str, journal: Path) -> None:
    """ClaimLost rolls its rows back; the job is another run's by now."""
    job, work = begin(app, url, journal)
    app.store.rescue(["worker"], SystemClock().now_us())
    outcome = app.runner.run(work)
    assert outcome.failure is not None
    assert outcome.failure.error_class == "treadle.errors.ClaimLost"
    assert (job.refresh().state, paid(url)) == (State.READY, 0)


def test_a_rescue_finds_nothing_of_a_job_that_has_ended_itself(app: Treadle, url: str, journal: Path) -> None:
    """Its worker died before it could tell, which nobody needs."""
    job, work = begin(app, url, journal)
    app.runner.run(work)
    assert app.store.rescue(["worker"], SystemClock().now_us()) == []
    assert (job.refresh().state, outcomes(job), paid(url)) == (State.SUCCEEDED, ["succeeded"], 1)


def test_an_end_stands_although_somebody_wanted_to_cancel(app: Treadle, url: str, journal: Path) -> None:
    """An answer of the function's own has the last word, as ever."""
    job, work = begin(app, url, journal)
    assert job.cancel()
    app.runner.run(work)
    assert (job.refresh().state, paid(url)) == (State.SUCCEEDED, 1)


def test_a_second_end_is_refused(app: Treadle, url: str, journal: Path) -> None:
    """The claim held once."""
    _, work = begin(app, url, journal)
    app.runner.run(work)
    outcome = app.runner.run(work)
    assert "was completed before" in str(outcome.failure)
    assert paid(url) == 1


# Maps


def test_a_part_of_one_item_ends_itself(app: Treadle, url: str) -> None:
    """And its whole knows."""
    with working(app):
        whole = app.send_map(completing.pay_each, [url, url, url], reduce=completing.total, parts=3)
        assert whole.result(PATIENCE_S) == 3
    assert (paid(url), whole.refresh().progress.done) == (3, 3)


def test_one_of_several_items_cannot_end_its_part(app: Treadle, url: str) -> None:
    """The message says how to send them."""
    with working(app):
        whole = app.send_map(completing.pay_each, [url, url], parts=1)
        with pytest.raises(JobFailed, match=r"a part with 2 items.*parts=len\(items\)"):
            whole.result(PATIENCE_S)
    assert paid(url) == 0


def test_a_part_does_not_end_in_an_old_snapshot(postgres_url: str) -> None:
    """It would not see that the others have ended, and nobody would go on with the whole."""
    app = Treadle(postgres_url, registry=completing.app.registry, app="tests.completing:app")
    whole = app.send_map(completing.pay_from_snapshot, [postgres_url], parts=1)
    app.run_pending()
    with pytest.raises(JobFailed, match=r"'repeatable read'.*use READ COMMITTED"):
        whole.result()
    app.close()


# Without a worker


def test_run_pending_takes_the_end_as_it_is(app: Treadle, url: str, journal: Path) -> None:
    """As in a user's test."""
    app.send_function(completing.pay, url, str(journal))
    (job,) = app.run_pending()
    assert (job.result(PATIENCE_S), paid(url)) == ({"paid": True}, 1)
    assert (job.progress.message, len(job.messages)) == ("paid", 1)


def test_a_transaction_that_was_begun_before_the_run_stays_open(app: Treadle, url: str) -> None:
    """In immediate mode it is the caller's, who commits it."""
    with completing.connected(url) as connection, closing(_immediate(url)) as immediate:
        connection.execute(completing.INSERT)
        completing.kept.append(connection)
        job = immediate.send_function(completing.complete_only.options(connection=connection))
        assert (job.state, paid(url)) == (State.SUCCEEDED, 0)
        connection.commit()
    assert paid(url) == 1


def _immediate(url: str) -> Treadle:
    return Treadle(url, registry=completing.app.registry, app="tests.completing:app", mode="immediate")


def test_a_direct_call_has_no_job_to_end(url: str, app: Treadle, journal: Path) -> None:
    """The function does its work, and nothing is written of a job."""
    assert completing.pay(url, str(journal)) == "of no interest"  # type: ignore[arg-type]
    asyncio.run(completing.pay_soon.function(Context.detached(), url))
    assert (paid(url), app.store.counts()) == (2, {})


def test_a_value_that_json_cannot_carry_is_told_in_the_task(app: Treadle, url: str) -> None:
    """Before anything of the end is written."""
    app.send_function(completing.pay_a_set, url)
    (job,) = app.run_pending()
    assert (job.state, paid(url)) == (State.FAILED, 0)
    assert job.error is not None
    assert job.error.error_class == "treadle.errors.PayloadError"
