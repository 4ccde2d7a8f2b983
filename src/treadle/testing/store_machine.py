"""Any sequence of a store's verbs, compared after each step with what the verbs mean. Needs Hypothesis.

    from treadle.testing.store_machine import check_verbs

    def test_any_sequence_of_verbs():
        check_verbs(lambda: MyStore(...))         # new and empty each time; `prepare` is called here

Workers claim, start, report, end, release, vanish and come back, in orders that nobody would think of and with claims
that hold no longer; Hypothesis shortens what fails to a few steps. Time stands still but for a step of its own, and
ids are counted, so the same choices always give the same steps.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from treadle.clock import US_PER_S
from treadle.job import Ending, Job, Kind, Outcome, OutcomeKind, Progress, Report
from treadle.states import State
from treadle.store.contract import Query, ScheduleRow, Store
from treadle.testing.clock import ManualClock
from treadle.testing.store_checks import check_alone, check_row, check_together, check_way
from treadle.testing.store_contract import ERROR, make_job, make_worker
from treadle.testing.store_model import UNKNOWN_TASK_S, StoreModel

QUICK = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, print_blob=False)
"""The same 60 sequences each time, some seconds; `settings(QUICK, max_examples=5000, derandomize=False)` goes farther."""

WORKERS = st.sampled_from(("ada", "bob"))
QUEUES = st.sampled_from(("default", "mail"))
SERVED = st.sampled_from(((), ("mail",), ("mail", "default")))
LIMITS = st.integers(1, 3)
EXPIRIES_S = st.sampled_from((None, None, 1, 7))
RESULT_TTLS_US = st.sampled_from((None, 0, 6 * US_PER_S))
AGES_US = st.sampled_from((0, 10 * US_PER_S))
SAID = (Outcome.snoozed(0.0), Outcome.snoozed(5.0), Outcome.rejected(ERROR))
"""What a task says itself of its job."""
OUTCOMES = st.sampled_from(
    (
        Outcome.succeeded(""),
        Outcome.succeeded(""),
        Outcome.raised(ERROR, None),
        Outcome.raised(ERROR, 0.0),
        Outcome.timed_out(ERROR, 5.0),
        Outcome.out_of_memory(ERROR, None),
        *SAID,
        Outcome.unfit(ERROR),
        Outcome.crashed(ERROR),
        Outcome.interrupted(),
        Outcome.cancelled(),
        Outcome.unknown_task(ERROR),
    )
)
CONCURRENCY_KEYS = st.sampled_from((None, None, None, None, None, None, "x", "y"))
OPTIONS = st.fixed_dictionaries(
    {
        "max_attempts": st.integers(1, 2),
        "max_crashes": st.integers(0, 2),
        "priority": st.integers(-1, 1),
        "concurrency_key": CONCURRENCY_KEYS,
        "expires_s": EXPIRIES_S,
        "result_ttl_us": RESULT_TTLS_US,
    }
)
SCHEDULES = st.sampled_from(("hourly", "nightly"))
CRONS = st.sampled_from(("0 * * * *", "0 3 * * *"))
UNIQUE_KEYS = st.sampled_from((None, None, None, None, "a", "b"))
KEEPING = st.fixed_dictionaries({"expires_s": EXPIRIES_S, "result_ttl_us": RESULT_TTLS_US})

Jobs = MultipleResults[Job]
Runs = Jobs


def check_verbs(
    make_store: Callable[[], Store], chosen: settings = QUICK, machine: "type[StoreMachine] | None" = None
) -> None:
    """Run many sequences of verbs, each on a store of its own. Raises AssertionError with the shortest that fails."""
    # Anything that makes one will do, says its documentation, and not only a class.
    run_state_machine_as_test(lambda: (machine or StoreMachine)(make_store), settings=chosen)  # type: ignore[arg-type]


class StoreMachine(RuleBasedStateMachine):
    """The steps. Each does one thing to the store and to the model, and compares the answers."""

    jobs: Bundle[Job] = Bundle("jobs")
    """All that were sent, whatever became of them."""
    runs: Bundle[Job] = Bundle("runs")
    """What claims gave, also those that hold no longer."""

    def __init__(self, make_store: Callable[[], Store]) -> None:
        super().__init__()
        self.store = make_store()
        self.store.prepare()
        self.model = StoreModel()
        self.clock = ManualClock()
        self.claimed: list[Job] = []
        self.seen: dict[str, Job] = {}
        self._numbers = count(1)

    def teardown(self) -> None:
        self.store.close()

    # Sending

    @initialize(target=jobs, options=OPTIONS)
    def begin(self, options: dict[str, Any]) -> Jobs:
        """A job to begin with: without one nothing happens."""
        return self._send(self._job(**options))

    @rule(target=jobs, options=OPTIONS, queue=QUEUES)
    def send(self, options: dict[str, Any], queue: str) -> Jobs:
        return self._send(self._job(queue=queue, **options))

    @rule(target=jobs, options=OPTIONS, delay_s=st.integers(1, 5), key=UNIQUE_KEYS)
    def send_for_later(self, options: dict[str, Any], delay_s: int, key: str | None) -> Jobs:
        run_at_us = self.now_us + delay_s * US_PER_S
        return self._send(self._job(state=State.SCHEDULED, run_at_us=run_at_us, unique_key=key, **options))

    @rule(target=jobs, keys=st.lists(UNIQUE_KEYS, min_size=1, max_size=4))
    def send_many(self, keys: Sequence[str | None]) -> Jobs:
        """Some of them may have one key."""
        return self._send(*(self._job(unique_key=key) for key in keys))

    @rule(
        target=jobs, options=OPTIONS, parts=st.integers(1, 3), size=st.integers(1, 2), keeping=KEEPING, key=UNIQUE_KEYS
    )
    def send_map(
        self, options: dict[str, Any], parts: int, size: int, keeping: dict[str, Any], key: str | None
    ) -> Jobs:
        whole = self._job(kind=Kind.WHOLE, state=State.BLOCKED, size=parts * size, unique_key=key, **keeping)
        of_whole = {"kind": Kind.PART, "group_id": whole.id, "size": size, **options}
        return self._send(whole, *(self._job(part=part, **of_whole) for part in range(parts)))

    @rule(one=jobs, other=jobs)
    def cancel(self, one: Job, other: Job) -> None:
        ids = [one.id, other.id]
        expected = self.model.cancel(ids, self.now_us)
        assert self.store.cancel(ids, self.now_us) == expected

    @rule(one=jobs, other=jobs)
    def redrive(self, one: Job, other: Job) -> None:
        """Sent once more: also one that never ended, or a whole whose parts have ended in all ways, or are gone."""
        ids = [one.id, other.id]
        expected = self.model.redrive(ids, self.now_us)
        assert self.store.redrive(ids, self.now_us) == expected

    # Working

    @rule(target=runs, worker=WORKERS, limit=LIMITS, queues=SERVED, starts=st.booleans())
    def claim(self, worker: str, limit: int, queues: Sequence[str], starts: bool) -> Runs:
        self._register(worker)
        expected = self.model.claim(worker, limit, self.now_us, queues=queues, starts=starts)
        claimed = self._claim(worker, limit, queues=queues, starts=starts)
        assert [job.claim for job in claimed] == expected
        return self._remember(claimed)

    @rule(target=runs, worker=WORKERS, limits=st.tuples(LIMITS, LIMITS))
    def claim_twice_at_once(self, worker: str, limits: tuple[int, int]) -> Runs:
        """Which of the two gets what is open; together they get what one claim would, and nothing twice."""
        self._register(worker)
        expected = self.model.claim(worker, sum(limits), self.now_us, starts=True)
        one, other = self.at_once(lambda: self._claim(worker, limits[0]), lambda: self._claim(worker, limits[1]))
        claimed = sorted([*one, *other], key=lambda job: job.id)
        assert [job.claim for job in claimed] == sorted(expected, key=lambda claim: claim.id)
        return self._remember(claimed)

    @rule(target=runs, worker=WORKERS)
    def claim_without_a_name(self, worker: str) -> Runs:
        """By a worker that does not know yet whether a rescue has forgotten it: then it gets nothing."""
        expected = self.model.claim(worker, 1, self.now_us, starts=True)
        claimed = self._claim(worker, 1)
        assert [job.claim for job in claimed] == expected
        return self._remember(claimed)

    @rule(worker=WORKERS, limit=LIMITS)
    def claim_and_roll_back(self, worker: str, limit: int) -> None:
        """What a transaction did that failed was not done."""
        with suppress(_RolledBack), self.store.transaction():
            self._claim(worker, limit)
            raise _RolledBack

    @rule(target=runs, run=runs)
    def start(self, run: Job) -> Job:
        """A prefetched job begins; who ran it knows that from now on."""
        self.model.mark_started(run.claim, self.now_us)
        self.store.mark_started([(run.claim, self.now_us)])
        return msgspec.structs.replace(run, started_at_us=self.now_us)

    @rule(run=runs, done=st.none() | st.integers(0, 9), messages=st.integers(0, 2))
    def report(self, run: Job, done: int | None, messages: int) -> None:
        progress = None if done is None else Progress(done, 9, "half")
        report = Report(run.claim, progress, ((self.now_us, '"here"'),) * messages)
        self.model.report(report)
        self.store.report([report], self.now_us)

    @rule(one=runs, other=runs, outcomes=st.tuples(OUTCOMES, OUTCOMES))
    def finish(self, one: Job, other: Job, outcomes: tuple[Outcome, Outcome]) -> None:
        """Two runs end in one commit: two jobs, or one job under two claims, or one run twice."""
        ends = [(run, _answer(run, outcome)) for run, outcome in zip((one, other), outcomes, strict=True)]
        endings = [Ending.of(run, outcome, self.now_us, UNKNOWN_TASK_S) for run, outcome in ends]
        expected = {run.claim for run, outcome in ends if self.model.finish(run, outcome, self.now_us)}
        assert self.store.finish(endings) == expected

    @precondition(lambda self: self.held)
    @rule(outcome=st.sampled_from(SAID))
    def end_as_the_task_says(self, outcome: Outcome) -> None:
        """A run that holds snoozes or rejects its job: a snooze costs no attempt, a rejection is the end."""
        run = self.held[0]
        assert self.model.finish(run, outcome, self.now_us)
        assert self.store.finish([Ending.of(run, outcome, self.now_us, UNKNOWN_TASK_S)]) == {run.claim}

    @precondition(lambda self: self.zombies)
    @rule(outcome=OUTCOMES, progress=st.booleans())
    def hear_a_zombie(self, outcome: Outcome, progress: bool) -> None:
        """A run tells its end, or how far it is, whose job another one has by now: nobody listens."""
        run = self.zombies[0]
        if progress:
            self.store.report([Report(run.claim, Progress(1), ((self.now_us, '"late"'),))], self.now_us)
        else:
            assert self.store.finish([Ending.of(run, outcome, self.now_us, UNKNOWN_TASK_S)]) == set()

    @rule(run=runs)
    def release(self, run: Job) -> None:
        self.model.release(run.claim, self.now_us)
        self.store.release([run.claim], self.now_us)

    # Keeping

    @rule(worker=WORKERS)
    def beat(self, worker: str) -> None:
        """A worker that was taken for dead is told so, and comes back."""
        is_known = self.store.heartbeat(worker, self.now_us, self.now_us + 10 * US_PER_S)
        assert is_known == (worker in self.model.workers)
        self._register(worker)

    @rule(worker=WORKERS)
    def leave(self, worker: str) -> None:
        self.model.deregister(worker)
        self.store.deregister([worker])

    @rule(worker=WORKERS)
    def rescue(self, worker: str) -> None:
        """Somebody takes a worker for dead; it may live, and know nothing of it."""
        expected = self.model.rescue(worker, self.now_us)
        assert {rescued.job.id for rescued in self.store.rescue([worker], self.now_us)} == expected

    @rule(target=runs, worker=WORKERS, heir=WORKERS)
    def rescue_and_claim(self, worker: str, heir: str) -> Runs:
        """What was taken back runs elsewhere at once, beside the run that it was taken from."""
        self.rescue(worker)
        self.every_job_is_as_it_should_be()
        self._register(heir)
        self.model.claim(heir, 2, self.now_us, starts=True)
        return self._remember(self._claim(heir, 2))

    @rule()
    def promote(self) -> None:
        assert self.store.promote(self.now_us, 1000) == self.model.promote(self.now_us)

    @rule()
    def expire(self) -> None:
        """What has not begun in time fails, whoever waits for it, and whatever it waits for."""
        assert set(self.store.expire(self.now_us, 1000)) == self.model.expire(self.now_us)

    @rule()
    def forget_results(self) -> None:
        """A whole that has not ended needs those of its parts."""
        assert self.store.forget_results(self.now_us, 1000) == self.model.forget_results(self.now_us)

    @rule(name=SCHEDULES, cron=CRONS, ago_s=st.integers(-1, 5))
    def keep_schedule(self, name: str, cron: str, ago_s: int) -> None:
        """As each worker does at its start, with a clock that may be wrong; others may know other times for it."""
        row = ScheduleRow(
            name=name, cron=cron, timezone="UTC", task="task", seen_at_us=self.now_us - ago_s * US_PER_S
        )  # fmt: skip
        self.model.keep_schedule(row)
        self.store.keep_schedules([row])

    @precondition(lambda self: self.model.schedules)
    @rule(target=jobs, number=st.integers(0, 1), is_late=st.booleans(), is_sent=st.booleans(), key=UNIQUE_KEYS)
    def move_schedule(self, number: int, is_late: bool, is_sent: bool, key: str | None) -> Jobs:
        """Its tick is sent and it is moved on, together, by a worker that may have seen it before another moved it."""
        rows = list(self.model.schedules.values())
        row = rows[number % len(rows)]
        job = self._job(unique_key=key)
        seen_us, to_us = row.seen_at_us - is_late, row.seen_at_us + 60 * US_PER_S
        with suppress(_RolledBack), self.store.transaction():
            done = self.store.enqueue([job] if is_sent else [])
            kept = done.stand_ins.get(job.id, job).id if is_sent else None
            if not self.store.move_schedule(row.name, seen_us, to_us, kept):
                raise _RolledBack
        assert self.model.move_schedule(row.name, seen_us, to_us, kept) != is_late
        if is_late or not is_sent:
            return multiple()
        expected = self.model.enqueue([job])
        assert ({id_: twin.id for id_, twin in done.stand_ins.items()}, set(done.expired)) == expected
        return multiple() if done.stand_ins else multiple(job)

    @rule(name=SCHEDULES)
    def forget_schedule(self, name: str) -> None:
        self.model.schedules.pop(name, None)
        self.store.forget_schedules([name])

    @rule(one=jobs, other=jobs)
    def forget(self, one: Job, other: Job) -> None:
        """What has ended is blanked, and never runs again, though its whole may be sent once more at any time."""
        ids = [one.id, other.id]
        expected = self.model.forget(ids)
        assert self.store.forget(ids) == expected

    @rule(queue=QUEUES)
    def pause(self, queue: str) -> None:
        assert self.store.pause([queue], self.now_us) == self.model.pause(queue, self.now_us)

    @rule(queue=QUEUES)
    def resume(self, queue: str) -> None:
        assert self.store.resume([queue]) == self.model.resume(queue)

    @rule(succeeded_us=AGES_US, failed_us=AGES_US, limit=st.sampled_from((1, 1000)))
    def prune(self, succeeded_us: int, failed_us: int, limit: int) -> None:
        """The oldest first; among those that ended at one time any."""
        before_us = (self.now_us + 1 - succeeded_us, self.now_us + 1 - failed_us)
        old = self.model.old(*before_us)
        assert self.store.prune(*before_us, limit) == min(limit, len(old))
        left = self.store.jobs(list(old)).keys()
        gone = old.keys() - left
        assert len(gone) == min(limit, len(old))
        assert all(old[id_] <= old[kept] for id_ in gone for kept in left)
        for id_ in gone:
            del self.model.rows[id_], self.seen[id_]

    @rule(seconds=st.sampled_from((0.5, 5, 10, UNKNOWN_TASK_S)))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def upkeep(self) -> None:
        self.store.upkeep()

    # What must hold after each step

    @invariant()
    def every_job_is_as_it_should_be(self) -> None:
        found = {job.id: job for job in self.store.find(Query(limit=1_000_000))}
        assert found.keys() == self.model.rows.keys()
        check_together(found.values())
        attempts = self.store.attempts(list(found))
        for id_, job in found.items():
            check_alone(job)
            check_way(self.seen.get(id_), job)
            check_row(job, attempts.get(id_, []), self.model.rows[id_])
            self._check_messages(job)
        self.seen = found

    @invariant()
    def counts_cover_every_job(self) -> None:
        rows = self.model.rows.values()
        assert self.store.counts() == Counter((row.sent.queue, row.state) for row in rows)

    @invariant()
    def paused_queues_are_known(self) -> None:
        assert self.store.paused_queues() == self.model.paused

    @invariant()
    def schedules_are_known(self) -> None:
        assert {row.name: row for row in self.store.schedules()} == self.model.schedules

    @invariant()
    def workers_are_known_and_told_of_cancels(self) -> None:
        assert {worker.id for worker in self.store.workers()} == self.model.workers
        for worker in self.model.workers:
            wanted = {r.claim for r in self.model.rows.values() if r.worker_id == worker and r.is_unwanted}
            assert set(self.store.cancel_requests(worker)) == wanted

    @invariant()
    def wholes_have_the_results_of_their_parts(self) -> None:
        wholes = [row.sent.id for row in self.model.rows.values() if row.sent.kind is Kind.WHOLE]
        assert self.store.part_results(wholes) == {id_: self.model.part_results(id_) for id_ in wholes}

    def _check_messages(self, job: Job) -> None:
        before = self.seen.get(job.id)
        if before is None or before.version != job.version:
            numbers = [message.number for message in self.store.messages(job.id)]
            assert numbers == list(range(1, self.model.rows[job.id].messages + 1))

    # How a step is done

    @property
    def now_us(self) -> int:
        return self.clock.now_us()

    @property
    def held(self) -> list[Job]:
        """Runs whose claim holds."""
        claims = {row.claim for row in self.model.rows.values() if row.state is State.RUNNING}
        return [run for run in self.claimed if run.claim in claims]

    @property
    def zombies(self) -> list[Job]:
        """Runs whose job is run by another now."""
        rows = self.model.rows
        held = {id_: row.token for id_, row in rows.items() if row.state is State.RUNNING}
        return [run for run in self.claimed if held.get(run.id, run.token) != run.token]

    def at_once(self, *steps: Callable[[], Any]) -> list[Any]:
        """Do these steps at the same time, each in a thread of its own."""
        with ThreadPoolExecutor(len(steps)) as threads:
            return [step.result() for step in [threads.submit(step) for step in steps]]

    def _job(self, *, expires_s: float | None = None, **fields: Any) -> Job:
        expires_at_us = None if expires_s is None else self.now_us + round(expires_s * US_PER_S)
        times = {"enqueued_at_us": self.now_us, "run_at_us": self.now_us, "expires_at_us": expires_at_us}
        return make_job(id=f"job-{next(self._numbers):04}", **{**times, **fields})

    def _send(self, *jobs: Job) -> Jobs:
        """Gives those of these jobs that are kept."""
        expected = self.model.enqueue(jobs)
        done = self.store.enqueue(jobs)
        assert ({id_: job.id for id_, job in done.stand_ins.items()}, set(done.expired)) == expected
        return multiple(*(job for job in jobs if job.id not in done.stand_ins))

    def _claim(self, worker: str, limit: int, *, queues: Sequence[str] = (), starts: bool = True) -> list[Job]:
        return self.store.claim(worker, limit, self.now_us, pool="processes", queues=queues, starts=starts)

    def _remember(self, claimed: list[Job]) -> Runs:
        self.claimed += claimed
        return multiple(*claimed)

    def _register(self, worker: str) -> None:
        self.model.workers.add(worker)
        self.store.register(make_worker(worker))


class _RolledBack(Exception):
    """Leaves a transaction."""


def _answer(run: Job, outcome: Outcome) -> Outcome:
    """A success with a result that no other run has."""
    is_success = outcome.kind is OutcomeKind.SUCCEEDED
    return Outcome.succeeded(f'["{run.id}",{run.token}]') if is_success else outcome
