"""The machine that drives a store's verbs: our stores pass it, and stores that are broken on purpose do not."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings

from treadle.errors import StoreError
from treadle.job import Claim, Ending, Job, OutcomeKind
from treadle.states import State
from treadle.store import queries
from treadle.store.contract import Enqueued, Store
from treadle.store.memory import MemoryStore
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle.testing.store_machine import QUICK, StoreMachine, check_verbs

IS_SOAK = "TREADLE_SOAK" in os.environ
CHOSEN = settings(QUICK, max_examples=2000, stateful_step_count=80, derandomize=False) if IS_SOAK else QUICK
TO_CATCH = settings(QUICK, phases=[Phase.generate], report_multiple_bugs=False, max_examples=150)
"""More sequences than are tried of a sound store, so that it does not hang by luck; the first that fails is not shortened."""

TAKE = """
UPDATE treadle_job SET state = 'running', token = :token, attempt = :attempt, worker_id = :worker_id,
    started_at = :started_at_us, version = version + 1 WHERE id = :id
"""


class WithoutTokens(SqliteStore):
    """Broken: whoever tells the end of a run ends the present one, whatever claim it has."""

    def __init__(self, file: SqliteFile) -> None:
        super().__init__(file)
        unchecked = self._sql["finish"].replace("AND token = :token", "")
        assert unchecked != self._sql["finish"], "it would not be broken"
        self._finish = queries.by_position(unchecked)


class CountsSnoozes(MemoryStore):
    """Broken: a snooze costs an attempt."""

    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        return super().finish([_counted(ending) for ending in endings])


class RetriesRejected(MemoryStore):
    """Broken: a job that its task has rejected is tried again."""

    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        return super().finish([_tried_again(ending) for ending in endings])


def _counted(ending: Ending) -> Ending:
    is_snoozed = ending.outcome.kind is OutcomeKind.SNOOZED
    return msgspec.structs.replace(ending, attempt=ending.job.attempt) if is_snoozed else ending


def _tried_again(ending: Ending) -> Ending:
    is_rejected = ending.outcome.kind is OutcomeKind.REJECTED
    return msgspec.structs.replace(ending, state=State.SCHEDULED, failure=None) if is_rejected else ending


class SendsTwice(MemoryStore):
    """Broken: a job whose unique key is taken is kept all the same."""

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        for job in jobs:
            self._keep(job)
        return Enqueued()


class SendsTicksTwice(MemoryStore):
    """Broken: a schedule is moved from wherever it is."""

    def move_schedule(self, name: str, seen_at_us: int, to_us: int, job_id: str | None = None) -> bool:
        for row in self.schedules():
            seen_at_us = row.seen_at_us if row.name == name else seen_at_us
        return super().move_schedule(name, seen_at_us, to_us, job_id)


class RunsTogether(MemoryStore):
    """Broken: jobs with one concurrency key run at the same time."""

    def _in_turn(self, jobs: Sequence[Job], *, starts: bool) -> Iterator[Job]:
        return iter(jobs)


class LooksFirst(SqliteStore):
    """Broken: it looks what is ready in one transaction, and takes that in another without a second look."""

    meanwhile: Callable[[], Any] | None = None
    """What another process does in between."""

    def claim(self, *asked: Any, **more: Any) -> list[Job]:
        looked: Sequence[Job] = []
        with suppress(KeyError), self.transaction():
            looked = super().claim(*asked, **more)
            raise KeyError
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        with self.file.writing() as connection:
            connection.executemany(TAKE, [{name: getattr(job, name) for name in TAKEN} for job in looked])
        return list(looked)


TAKEN = ("id", "token", "attempt", "worker_id", "started_at_us")


class OneAfterTheOther(StoreMachine):
    """Two steps at once, where the first happens to be quicker."""

    def at_once(self, *steps: Callable[[], Any]) -> list[Any]:
        return [step() for step in steps]


class OneInTheOther(StoreMachine):
    """Two steps at once, where the second comes when the first has looked and not yet taken."""

    def at_once(self, *steps: Callable[[], Any]) -> list[Any]:
        first, second = steps
        answers: list[Any] = []
        self.store.meanwhile = lambda: answers.append(second())
        return [first(), *answers]


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Any], Callable[[], Store]]:
    """Makes what makes a new store of a class, on a file of its own each time."""
    numbers = count()
    return lambda kind: lambda: kind(SqliteFile(tmp_path / f"{next(numbers)}.sqlite3"))


def test_the_store_in_memory_passes():
    """Whatever sequence of verbs: its rows are what the verbs mean."""
    check_verbs(MemoryStore, CHOSEN)


def test_the_store_in_a_sqlite_file_passes(make):
    """Whatever sequence of verbs: its rows are what the verbs mean."""
    check_verbs(make(SqliteStore), CHOSEN)


def test_the_store_in_a_postgresql_database_passes(postgres_url):
    """Whatever sequence of verbs: its rows are what the verbs mean. Fewer sequences, since each verb is a trip to a server."""
    check_verbs(lambda: emptied(postgres_url), settings(CHOSEN, max_examples=CHOSEN.max_examples // 5))


def emptied(url: str) -> Store:
    """The store in this database, without what the last sequence has left; to make its tables anew would take long."""
    store = PostgresStore(parse(url), listen=False, notify=False)
    store.prepare()
    tables = "treadle_job, treadle_worker, treadle_schedule, treadle_paused_queue"
    store.server.run(f"TRUNCATE {tables} CASCADE")
    return store


def test_a_store_that_does_not_check_tokens_is_caught(make):
    """A run whose job was taken back, and given to another, must not end it; the tables may be the first to notice."""
    with pytest.raises((AssertionError, StoreError)):
        check_verbs(make(WithoutTokens), TO_CATCH)


@pytest.mark.parametrize("broken", [CountsSnoozes, RetriesRejected])
def test_a_store_that_ends_a_run_otherwise_than_its_task_said_is_caught(broken):
    """A snooze is refunded, a rejection is final."""
    with pytest.raises(AssertionError):
        check_verbs(broken, TO_CATCH)


@pytest.mark.parametrize("broken", [SendsTwice, RunsTogether])
def test_a_store_that_does_not_keep_to_keys_is_caught(broken):
    """Of one unique key one job is unfinished, of one concurrency key one runs."""
    with pytest.raises(AssertionError):
        check_verbs(broken, TO_CATCH)


def test_a_store_that_moves_a_schedule_unseen_is_caught():
    """Two workers that see to one tick would both send it."""
    with pytest.raises(AssertionError):
        check_verbs(SendsTicksTwice, TO_CATCH)


def test_a_store_whose_claims_are_not_immediate_is_caught(make):
    """Two claims at once must not take one job both."""
    with pytest.raises(AssertionError):
        check_verbs(make(LooksFirst), TO_CATCH, OneInTheOther)


def test_only_the_race_is_what_is_wrong_with_it(make):
    """The same store passes where no claim comes in between: so it is the race that is caught."""
    check_verbs(make(LooksFirst), TO_CATCH, OneAfterTheOther)
