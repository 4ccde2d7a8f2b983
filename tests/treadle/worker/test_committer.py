"""What running jobs have told and the store does not know yet."""

from collections.abc import Sequence
from typing import Any

import pytest

from treadle.errors import StoreError
from treadle.events import Event, JobEnded, LateResultRefused, MessagesDropped
from treadle.job import Claim, Ending, Failure, Job, Outcome, Progress
from treadle.states import State
from treadle.store.memory import MemoryStore
from treadle.testing import ManualClock
from treadle.testing.store_contract import claim, make_job, read
from treadle.worker.committer import GROUP_COMMIT_S, MOST_MESSAGE_CHARACTERS, REPORT_INTERVAL_S, Committer

ERROR = Failure("builtins.ValueError", "bad")


class AwayStore(MemoryStore):
    """A store that can be out of reach."""

    is_away = False

    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        if self.is_away:
            raise StoreError("the store is away")
        return super().finish(endings)


class Scene:
    """A committer with its store, its clock and what it announced."""

    def __init__(self) -> None:
        self.store = AwayStore()
        self.clock = ManualClock()
        self.events: list[Event] = []
        self.committer = Committer(self.store, self.clock, "worker", 60, self.events.append)

    def running(self, **fields: Any) -> Job:
        self.store.enqueue([make_job(**fields)])
        return claim(self.store, 1)[0]

    def write(self) -> None:
        with self.committer.written():
            pass


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_without_news_nothing_is_due(scene: Scene) -> None:
    """The loop may sleep."""
    assert scene.committer.due_in_s() is None


def test_an_ending_is_due_now(scene: Scene) -> None:
    """Unless nobody is idle: then it waits a moment for others."""
    scene.committer.add_ending(scene.running(), Outcome.succeeded("1"))
    assert scene.committer.due_in_s() == 0
    assert scene.committer.due_in_s(may_wait=True) == GROUP_COMMIT_S
    scene.clock.advance(GROUP_COMMIT_S)
    assert scene.committer.due_in_s(may_wait=True) == 0


def test_reports_are_due_after_a_while(scene: Scene) -> None:
    """They are written so often at most."""
    scene.committer.add_report(scene.running(), Progress(1))
    assert scene.committer.due_in_s() == REPORT_INTERVAL_S
    scene.clock.advance(REPORT_INTERVAL_S)
    assert scene.committer.due_in_s() == 0


def test_only_the_first_of_a_batch_says_so(scene: Scene) -> None:
    """So that the loop is woken once."""
    one, other = scene.running(), scene.running()
    assert scene.committer.add_ending(one, Outcome.succeeded("1")) is True
    assert scene.committer.add_release(other) is False
    scene.write()
    assert scene.committer.add_ending(one, Outcome.succeeded("1")) is True


def test_everything_is_written_in_one_transaction(scene: Scene) -> None:
    """Endings, releases, starts and reports."""
    ended, released, started = scene.running(), scene.running(), scene.running()
    scene.committer.add_ending(ended, Outcome.succeeded("1"))
    scene.committer.add_release(released)
    scene.committer.add_started(started, 77)
    scene.committer.add_report(started, Progress(1, 2))
    scene.committer.add_report(started, '"hello"')
    scene.write()
    assert read(scene.store, ended).state is State.SUCCEEDED
    assert read(scene.store, released).state is State.READY
    assert (read(scene.store, started).started_at_us, read(scene.store, started).progress) == (77, Progress(1, 2))
    assert [message.body for message in scene.store.messages(started.id)] == ["hello"]
    assert scene.committer.due_in_s() is None


def test_the_reports_of_a_job_that_ended_are_kept(scene: Scene) -> None:
    """They are written before its end, after which its claim does not hold."""
    job = scene.running()
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    scene.committer.add_report(job, Progress(9, 9))
    scene.committer.add_report(job, '"last word"')
    scene.write()
    assert read(scene.store, job).progress == Progress(9, 9)
    assert len(scene.store.messages(job.id)) == 1


def test_an_accepted_ending_is_announced(scene: Scene) -> None:
    """After the commit."""
    job = scene.running()
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    scene.write()
    assert scene.events == [JobEnded(job, Outcome.succeeded("1"), State.SUCCEEDED, "worker")]


def test_a_refused_ending_is_announced(scene: Scene) -> None:
    """As what it is."""
    job = scene.running()
    scene.store.rescue(["worker"], 0)
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    scene.write()
    assert scene.events == [LateResultRefused(job, "worker")]


def test_a_job_that_its_run_has_ended_itself_has_succeeded(scene: Scene) -> None:
    """Whatever else is told of the run: that it was not committed, or that its process died."""
    job = scene.running()
    scene.store.finish([Ending.succeed(job, Outcome.succeeded("7"), 5)])
    scene.committer.add_ending(job, Outcome.crashed(ERROR))
    scene.write()
    assert scene.events == [JobEnded(job, Outcome.succeeded("7"), State.SUCCEEDED, "worker")]


def test_a_late_end_takes_nothing_from_that_of_a_later_run(scene: Scene) -> None:
    """Where one worker tells of two runs of a job at once, each is announced as what it is."""
    late = scene.running()
    scene.store.release([late.claim], 0)
    (job,) = claim(scene.store, 1)
    for run in (late, job):
        scene.committer.add_ending(run, Outcome.succeeded("1"))
    scene.write()
    refused, ended = scene.events
    assert isinstance(refused, LateResultRefused)
    assert isinstance(ended, JobEnded)
    assert (refused.job.token, ended.job.token) == (late.token, job.token)


def test_nothing_is_lost_while_the_store_is_away(scene: Scene) -> None:
    """News are kept, in order, and written when it is back."""
    job, later = scene.running(), scene.running()
    scene.store.is_away = True
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    scene.committer.add_report(later, '"one"')
    scene.committer.add_report(later, Progress(1))
    scene.committer.add_started(later, 77)
    with pytest.raises(StoreError):
        scene.write()
    scene.committer.add_report(later, '"two"')
    scene.committer.add_ending(later, Outcome.raised(ERROR, None))
    scene.store.is_away = False
    scene.write()
    assert read(scene.store, job).state is State.SUCCEEDED
    assert (read(scene.store, later).state, read(scene.store, later).progress) == (State.FAILED, Progress(1))
    assert [message.body for message in scene.store.messages(later.id)] == ["one", "two"]
    assert len(scene.events) == 2


def test_what_fails_beside_the_news_undoes_them_until_next_time(scene: Scene) -> None:
    """A claim in the same transaction that fails takes the news back with it."""
    job = scene.running()
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    with pytest.raises(ZeroDivisionError), scene.committer.written():
        raise ZeroDivisionError
    assert read(scene.store, job).state is State.RUNNING
    assert scene.events == []
    scene.write()
    assert read(scene.store, job).state is State.SUCCEEDED


def test_news_that_come_during_a_write_are_kept_for_the_next(scene: Scene) -> None:
    """Pools do not wait for the store."""
    job, later = scene.running(), scene.running()
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    with scene.committer.written():
        scene.committer.add_ending(later, Outcome.succeeded("2"))
    assert read(scene.store, later).state is State.RUNNING
    assert scene.committer.due_in_s() == 0
    scene.write()
    assert read(scene.store, later).state is State.SUCCEEDED


def test_messages_are_kept_up_to_a_bound(scene: Scene) -> None:
    """A job that talks on while the store is away must not fill the memory; what is lost is told."""
    job = scene.running()
    half = f'"{"x" * (MOST_MESSAGE_CHARACTERS // 2 - 2)}"'
    for message in (half, half, '"one more"', '"another"'):
        scene.committer.add_report(job, message)
    assert scene.committer.due_in_s() == 0
    scene.committer.add_ending(job, Outcome.succeeded("1"))
    scene.store.is_away = True
    with pytest.raises(StoreError):
        scene.write()
    scene.committer.add_report(job, '"a third"')
    scene.store.is_away = False
    scene.write()
    assert len(scene.store.messages(job.id)) == 2
    assert scene.events == [
        MessagesDropped("worker", 3),
        JobEnded(job, Outcome.succeeded("1"), State.SUCCEEDED, "worker"),
    ]


def test_all_outcomes_are_written_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However different they are: one call for all endings, one for all releases."""
    calls: list[tuple[str, int]] = []

    def count(verb: str) -> None:
        whole = getattr(scene.store, verb)

        def counted(rows: Any, *rest: Any) -> Any:
            calls.append((verb, len(rows)))
            return whole(rows, *rest)

        monkeypatch.setattr(scene.store, verb, counted)

    for verb in ("finish", "release", "report", "mark_started"):
        count(verb)
    endings = [
        Outcome.succeeded("1"), Outcome.raised(ERROR, None), Outcome.raised(ERROR, 1), Outcome.crashed(ERROR),
        Outcome.interrupted(), Outcome.cancelled(), Outcome.timed_out(ERROR, None), Outcome.out_of_memory(ERROR, 1),
        Outcome.unknown_task(ERROR), Outcome.unfit(ERROR),
    ]  # fmt: skip
    for outcome in endings:
        scene.committer.add_ending(scene.running(), outcome)
    for _ in range(3):
        scene.committer.add_release(scene.running())
        scene.committer.add_started(scene.running(), 7)
        scene.committer.add_report(scene.running(), Progress(1))
    scene.write()
    assert sorted(calls) == [("finish", len(endings)), ("mark_started", 3), ("release", 3), ("report", 3)]
