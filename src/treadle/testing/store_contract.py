"""What every job store must do, as tests: subclass `StoreContract`, give it your store, run pytest.

    from treadle.testing.store_contract import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self):
            return MyStore(...)         # new and empty each time; `prepare` is called here

Each test calls `make_store` once and closes the store at its end. A store that several processes can
open also overrides `reopen`, so that a second opening of the same data is tested; where `reopen`
returns the store itself, those tests hold of one opening.

The tests use no clock: times are numbers that each test makes up.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from treadle.errors import StoreError
from treadle.job import Claim, Ending, Failure, Job, Kind, Outcome, Progress, Report, new_id
from treadle.states import State
from treadle.store.contract import Enqueued, Forgotten, Part, Query, ScheduleRow, Store, WorkerRow
from treadle.store.keys import FAR, NEAR

NOW_US = 1_800_000_000_000_000
PATIENCE_S = 30.0
"""How long a test waits for what must come; only a broken store makes it wait so long."""

ERROR = Failure("builtins.ValueError", "no such user", "Traceback …")


class StoreContract:
    """The tests. Each docstring is a sentence that must hold of the store."""

    def make_store(self) -> Store:
        """A new, empty store."""
        raise NotImplementedError

    def reopen(self, store: Store) -> Store:
        """A second opening of the same data, as another process would have it; or the store itself."""
        return store

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """A prepared store, closed at the end."""
        store = self.make_store()
        try:
            store.prepare()
            yield store
        finally:
            store.close()

    # Sending and reading

    def test_a_job_comes_back_as_it_was_sent(self) -> None:
        """Every field that a sender sets is read back unchanged."""
        sent = make_job(
            task="reports.monthly", payload='{"args":[1,"é"],"kwargs":{}}', queue="mail", pool="threads", priority=-7,
            max_attempts=4, max_crashes=2, run_at_us=NOW_US + 5, enqueued_at_us=NOW_US + 3, alias="other",
            labels={"tenant": "acme"}, headers={"language": "de"}, timeout_s=1.5, memory_mb=256, cores=2,
            unique_key="report:7", concurrency_key="acme", expires_at_us=NOW_US + 9, result_ttl_us=60_000_000,
        )  # fmt: skip
        with self.opened() as store:
            store.enqueue([sent])
            assert msgspec.structs.replace(read(store, sent), version=0) == sent

    def test_unknown_ids_are_left_out(self) -> None:
        """Asking for an id that is not there gives nothing, and is no error."""
        job = make_job()
        with self.opened() as store:
            store.enqueue([job])
            assert set(store.jobs([job.id, "nobody"])) == {job.id}
            assert store.job("nobody") is None
            assert store.attempts(["nobody"]) == {}
            assert store.messages("nobody") == []

    def test_an_id_is_used_once(self) -> None:
        """A second job with the same id is refused, and the first one stays as it is."""
        job = make_job(payload='"first"')
        with self.opened() as store:
            store.enqueue([job])
            assert_refused(lambda: store.enqueue([msgspec.structs.replace(job, payload='"second"')]))
            assert read(store, job).payload == '"first"'

    def test_a_list_is_sent_together_or_not_at_all(self) -> None:
        """Of a list with one bad job nothing is kept."""
        good, twice = make_job(), make_job()
        with self.opened() as store:
            assert_refused(lambda: store.enqueue([good, twice, twice]))
            assert store.jobs([good.id, twice.id]) == {}

    def test_what_a_transaction_does_is_kept_together(self) -> None:
        """The verbs inside a transaction are all in force after it."""
        first, second = make_job(), make_job()
        with self.opened() as store:
            with store.transaction():
                store.enqueue([first])
                store.enqueue([second])
                assert store.job(first.id) is not None
            assert set(store.jobs([first.id, second.id])) == {first.id, second.id}

    def test_what_a_failed_transaction_did_is_gone(self) -> None:
        """An error that leaves a transaction undoes every verb inside it."""
        job, held = make_job(), make_job()
        with self.opened() as store:
            store.enqueue([held])
            try:
                with store.transaction():
                    store.enqueue([job])
                    claim(store, 1)
                    raise _Stopped
            except _Stopped:
                pass
            assert store.job(job.id) is None
            assert read(store, held).state is State.READY

    def test_a_verb_that_fails_inside_a_transaction_leaves_nothing_of_itself(self) -> None:
        """Who catches the error of one verb may go on, and commits only what succeeded."""
        before, bad, after = make_job(), make_job(), make_job()
        with self.opened() as store:
            with store.transaction():
                store.enqueue([before])
                assert_refused(lambda: store.enqueue([bad, bad]))
                store.enqueue([after])
            assert set(store.jobs([before.id, bad.id, after.id])) == {before.id, after.id}

    def test_another_opening_sees_what_was_sent(self) -> None:
        """What one opening of the store has kept, another one reads."""
        job = make_job()
        with self.opened() as store:
            store.enqueue([job])
            other = self.reopen(store)
            try:
                assert read(other, job).id == job.id
            finally:
                other.close()

    def test_the_secret_stays_the_same(self) -> None:
        """The key is long, and every opening of the store gives the same."""
        with self.opened() as store:
            other = self.reopen(store)
            try:
                assert len(store.secret()) >= 32
                assert other.secret() == store.secret() == store.secret()
            finally:
                other.close()

    # Unique keys

    def test_a_job_whose_key_is_taken_is_not_kept(self) -> None:
        """The unfinished job of its task with that key stands in for it, as it is."""
        first, second = make_job(unique_key="report:7"), make_job(unique_key="report:7", payload='"new"')
        with self.opened() as store:
            assert store.enqueue([first]).stand_ins == {}
            assert store.enqueue([second]).stand_ins == {second.id: read(store, first)}
            assert found(store) == [first.id]

    def test_a_key_belongs_to_its_task(self) -> None:
        """Jobs of other tasks, with other keys, or without one are kept."""
        jobs = [make_job(unique_key="a"), make_job(unique_key="b"), make_job(unique_key="a", task="b"), make_job()]
        with self.opened() as store:
            assert store.enqueue(jobs).stand_ins == {}
            assert store.enqueue([make_job()]).stand_ins == {}
            assert len(found(store)) == 5

    def test_of_one_list_the_first_with_a_key_is_kept(self) -> None:
        """It stands in for the others of that list."""
        jobs = [make_job(unique_key=key) for key in ("b", "a", "b", "a", "b")]
        with self.opened() as store:
            stand_ins = store.enqueue([*jobs, make_job()]).stand_ins
            wanted = {2: 0, 3: 1, 4: 0}
            assert stand_ins == {jobs[late].id: read(store, jobs[first]) for late, first in wanted.items()}
            assert len(found(store)) == 3

    def test_a_key_is_taken_until_the_job_has_ended(self) -> None:
        """Also while it runs and while it waits to be tried again or taken back; each end frees it."""
        with self.opened() as store:
            job = self._running(store, unique_key="k", max_attempts=2)
            assert self._stands_in(store, job)
            finish(store, job, Outcome.raised(ERROR, 1.0))
            assert self._stands_in(store, job)
            store.promote(NOW_US + 1_000_000, 9)
            claim(store, 1, starts=False)
            store.rescue(["worker"], NOW_US)
            assert self._stands_in(store, job)

    def test_every_end_frees_the_key(self) -> None:
        """Success, failure and cancel."""
        with self.opened() as store:
            for outcome in (Outcome.succeeded("1"), Outcome.raised(ERROR, None), Outcome.cancelled()):
                finish(store, self._running(store, unique_key="k"), outcome)
            waiting, last = make_job(unique_key="k"), make_job(unique_key="k")
            assert store.enqueue([waiting]).stand_ins == {}
            store.cancel([waiting.id], NOW_US)
            assert store.enqueue([last]).stand_ins == {}

    def test_of_a_whole_that_is_not_kept_no_part_is(self) -> None:
        """Who stands in for the whole stands in for its parts."""
        first, second = make_job(unique_key="k"), make_job(unique_key="k", kind=Kind.WHOLE, state=State.BLOCKED)
        parts = [make_job(kind=Kind.PART, group_id=second.id, part=part) for part in range(2)]
        with self.opened() as store:
            store.enqueue([first])
            stand_ins = store.enqueue([*parts, second]).stand_ins
            assert stand_ins == dict.fromkeys(ids_of([*parts, second]), read(store, first))
            assert found(store) == [first.id]

    def test_a_whole_with_a_key_is_kept_with_its_parts(self) -> None:
        """Its progress is counted like that of any other, and stands in with it."""
        whole = make_job(unique_key="k", kind=Kind.WHOLE, state=State.BLOCKED, size=2)
        parts = [make_job(kind=Kind.PART, group_id=whole.id, part=part) for part in range(2)]
        with self.opened() as store:
            assert store.enqueue([*parts, whole]).stand_ins == {}
            finish(store, claim(store, 1)[0], Outcome.succeeded("[1]"))
            assert self._stands_in(store, whole)
            assert read(store, whole).progress == Progress(1, 2)

    def test_a_list_with_keys_is_sent_together_or_not_at_all(self) -> None:
        """Of a list with one bad job nothing is kept, and no key is taken."""
        good, twice = make_job(unique_key="k"), make_job()
        with self.opened() as store:
            assert_refused(lambda: store.enqueue([good, twice, twice]))
            assert store.enqueue([make_job(unique_key="k")]).stand_ins == {}

    def test_a_taken_key_fails_nothing_inside_a_transaction(self) -> None:
        """What was done before and after it is kept, and a rollback frees the key."""
        before, after = make_job(unique_key="k"), make_job()
        with self.opened() as store:
            with store.transaction():
                store.enqueue([before])
                assert self._stands_in(store, before)
                store.enqueue([after])
            assert set(found(store)) == {before.id, after.id}
            try:
                with store.transaction():
                    store.enqueue([make_job(unique_key="other")])
                    raise _Stopped
            except _Stopped:
                pass
            assert store.enqueue([make_job(unique_key="other")]).stand_ins == {}

    def test_threads_that_send_one_key_at_once_get_one_job(self) -> None:
        """Four senders, each with the keys in another order: one job for each key, and all are told of it."""
        keys = [f"key {number}" for number in range(20)]
        lists = [[make_job(unique_key=key) for key in order] for order in (keys, keys[::-1], keys[7:] + keys[:7], keys)]
        with self.opened() as store:
            with ThreadPoolExecutor(len(lists)) as threads:
                answers = [done.stand_ins for done in threads.map(store.enqueue, lists)]
            kept = {job.unique_key: job.id for job in store.find(Query(limit=1000))}
            assert len(kept) == len(store.find(Query(limit=1000))) == len(keys)
            for jobs, stand_ins in zip(lists, answers, strict=True):
                told = {job.unique_key: stand_ins[job.id].id if job.id in stand_ins else job.id for job in jobs}
                assert told == kept

    # Finding

    def test_jobs_are_found_by_state_task_and_queue(self) -> None:
        """Each part of a query narrows what is found."""
        wanted = make_job(task="a", queue="mail")
        others = [make_job(task="b", queue="mail"), make_job(task="a"), make_job(state=State.SCHEDULED, task="a")]
        with self.opened() as store:
            store.enqueue([wanted, *others])
            assert found(store, state=State.READY, task="a", queue="mail") == [wanted.id]
            assert len(found(store, task="a")) == 3
            assert len(found(store)) == 4

    def test_jobs_are_found_by_their_labels(self) -> None:
        """Every label of a query must be there with its value; further ones do not matter."""
        both = make_job(labels={"tenant": "acme", "kind": "bill"})
        one = make_job(labels={"tenant": "acme"})
        with self.opened() as store:
            store.enqueue([both, one, make_job()])
            assert set(found(store, labels={"tenant": "acme"})) == {both.id, one.id}
            assert found(store, labels={"tenant": "acme", "kind": "bill"}) == [both.id]
            assert found(store, labels={"tenant": "ac"}) == []

    def test_who_looks_for_what_cannot_be_kept_finds_nothing(self) -> None:
        """Or is told so by an error of the store, and of nobody else."""
        with self.opened() as store:
            store.enqueue([make_job()])
            for text in ("\0", "\ud800"):
                with suppress(StoreError):
                    assert store.find(Query(queue=text)) == []

    def test_the_newest_jobs_come_first_unless_the_oldest_are_wanted(self) -> None:
        """`newest_first` orders by the time of sending, and `limit` bounds what is found."""
        jobs = [make_job(enqueued_at_us=NOW_US + second) for second in range(3)]
        ids = [job.id for job in jobs]
        with self.opened() as store:
            store.enqueue(jobs)
            assert found(store) == ids[::-1]
            assert found(store, newest_first=False) == ids
            assert found(store, limit=2) == [ids[2], ids[1]]

    def test_jobs_are_counted_by_queue_and_state(self) -> None:
        """The counts cover every job."""
        jobs = [make_job(), make_job(), make_job(queue="mail"), make_job(state=State.SCHEDULED)]
        with self.opened() as store:
            assert store.counts() == {}
            store.enqueue(jobs)
            assert store.counts() == {
                ("default", State.READY): 2, ("mail", State.READY): 1, ("default", State.SCHEDULED): 1,
            }  # fmt: skip

    # Claiming

    def test_the_most_urgent_jobs_are_claimed_first(self) -> None:
        """Priority goes before time, and time before id."""
        late, early = make_job(run_at_us=NOW_US - 1), make_job(run_at_us=NOW_US - 2)
        high, low = make_job(priority=1), make_job(priority=-1, run_at_us=NOW_US - 9)
        with self.opened() as store:
            store.enqueue([low, late, early, high])
            assert ids_of(claim(store, 3)) == [high.id, early.id, late.id]
            assert ids_of(claim(store, 3)) == [low.id]

    def test_a_claim_makes_a_job_running_under_a_new_token(self) -> None:
        """A claimed job is running, belongs to the worker, and counts one attempt."""
        with self.opened() as store:
            store.enqueue([make_job()])
            (job,) = claim(store, 5, worker_id="me")
            assert (job.state, job.worker_id, job.attempt, job.token) == (State.RUNNING, "me", 1, 1)
            assert read(store, job) == job

    def test_a_job_is_claimed_once(self) -> None:
        """What one worker holds no other gets."""
        with self.opened() as store:
            store.enqueue([make_job()])
            assert len(claim(store, 5)) == 1
            assert claim(store, 5, worker_id="other") == []

    def test_a_claim_takes_no_more_than_asked_for(self) -> None:
        """The limit bounds a claim over all its queues, and 0 takes nothing."""
        with self.opened() as store:
            store.enqueue([make_job(queue=name) for name in ("a", "a", "b", "b")])
            assert claim(store, 0) == []
            assert len(claim(store, 3, queues=["a", "b"])) == 3
            assert len(claim(store, 3, queues=["a", "b"])) == 1

    def test_only_jobs_of_the_pool_are_claimed(self) -> None:
        """A job waits for the pool that it asks for."""
        job = make_job(pool="threads")
        with self.opened() as store:
            store.enqueue([job])
            assert claim(store, 5, pool="processes") == []
            assert ids_of(claim(store, 5, pool="threads")) == [job.id]

    def test_queues_are_served_in_the_order_given(self) -> None:
        """The first queue goes before the second whatever the priorities, and others are left alone."""
        urgent, plain, foreign = make_job(queue="b", priority=9), make_job(queue="a"), make_job(queue="c")
        with self.opened() as store:
            store.enqueue([urgent, plain, foreign])
            assert ids_of(claim(store, 9, queues=["a", "b"])) == [plain.id, urgent.id]
            assert read(store, foreign).state is State.READY

    def test_a_claim_that_starts_stamps_the_start(self) -> None:
        """`started_at_us` is set where the worker starts the job at once, and only there."""
        with self.opened() as store:
            store.enqueue([make_job(), make_job()])
            assert claim(store, 1, starts=True)[0].started_at_us == NOW_US
            assert claim(store, 1, starts=False)[0].started_at_us is None

    def test_a_job_that_may_run_once_is_claimed_to_be_started_at_once(self) -> None:
        """It never waits in a pool, where nobody could tell whether it has begun."""
        with self.opened() as store:
            store.enqueue([make_job(max_crashes=0)])
            assert claim(store, 1, starts=False) == []
            assert claim(store, 1, starts=True)[0].started_at_us == NOW_US

    def test_a_job_that_may_run_once_is_not_passed_by_others(self) -> None:
        """A claim of what is not started at once ends before it, else it would starve behind jobs that wait in a pool."""
        before, once = make_job(priority=1), make_job(max_crashes=0)
        after, mail = make_job(priority=-1), make_job(queue="mail", priority=-2)
        with self.opened() as store:
            store.enqueue([mail, after, once, before])
            assert ids_of(claim(store, 9, starts=False)) == [before.id]
            assert claim(store, 9, queues=["default", "mail"], starts=False) == []
            assert ids_of(claim(store, 1)) == [once.id]
            assert ids_of(claim(store, 9, queues=["default", "mail"], starts=False)) == [after.id, mail.id]

    def test_a_job_that_may_run_once_is_not_passed_beside_keys_and_pauses(self) -> None:
        """Whatever else a claim has to look at."""
        before, once, after = make_job(priority=1), make_job(max_crashes=0), make_job(queue="mail", priority=-1)
        keyed = [make_job(concurrency_key="k", queue="mail", priority=9 - place) for place in (0, 1)]
        with self.opened() as store:
            store.enqueue([after, once, before, *keyed])
            assert ids_of(claim(store, 1)) == [keyed[0].id]
            assert ids_of(claim(store, 9, queues=["default", "mail"], starts=False)) == [before.id]
            assert claim(store, 9, starts=False) == []
            store.cancel([keyed[1].id], NOW_US)
            store.pause(["news"], NOW_US)
            assert claim(store, 9, starts=False) == claim(store, 9, queues=["default", "mail"], starts=False) == []
            assert ids_of(claim(store, 9)) == [once.id, after.id]

    def test_a_worker_that_holds_a_job_is_not_forgotten(self) -> None:
        """Only a rescue can take the job back, and it looks at the workers that are known."""
        with self.opened() as store:
            store.enqueue([make_job()])
            (job,) = claim(store, 1, starts=True)
            store.register(make_worker(job.worker_id or ""))
            store.deregister([job.worker_id or ""])
            assert [worker.id for worker in store.workers()] == [job.worker_id]

    def test_a_prefetched_job_is_stamped_when_it_starts(self) -> None:
        """`mark_started` sets the start of a job whose claim holds, and of no other."""
        with self.opened() as store:
            store.enqueue([make_job()])
            (job,) = claim(store, 1, starts=False)
            store.mark_started([(Claim(job.id, job.token + 1), NOW_US + 1)])
            assert read(store, job).started_at_us is None
            store.mark_started([(job.claim, NOW_US + 2)])
            assert read(store, job).started_at_us == NOW_US + 2

    def test_a_released_job_is_as_if_it_had_not_been_claimed(self) -> None:
        """Release refunds the attempt and never resets the token."""
        with self.opened() as store:
            store.enqueue([make_job()])
            (job,) = claim(store, 1, starts=False)
            store.release([job.claim], NOW_US)
            back = read(store, job)
            assert (back.state, back.attempt, back.worker_id, back.started_at_us) == (State.READY, 0, None, None)
            assert claim(store, 1)[0].token == 2

    def test_a_claim_that_does_not_hold_releases_nothing(self) -> None:
        """Release with an old token leaves the present run alone."""
        with self.opened() as store:
            store.enqueue([make_job()])
            (old,) = claim(store, 1)
            store.release([old.claim], NOW_US)
            (new,) = claim(store, 1)
            store.release([old.claim], NOW_US)
            assert read(store, new) == new

    def test_threads_that_claim_at_once_get_each_job_once(self) -> None:
        """Four claimers of one store share the jobs without loss and without a duplicate."""
        jobs = [make_job() for _ in range(200)]
        with self.opened() as store:
            store.enqueue(jobs)
            with ThreadPoolExecutor(4) as threads:
                shares = list(threads.map(lambda name: _claim_all(store, f"worker-{name}"), range(4)))
            assert sorted(id_ for share in shares for id_ in share) == sorted(ids_of(jobs))

    # Concurrency keys

    def test_of_the_jobs_with_one_key_one_runs(self) -> None:
        """Whatever their tasks, queues and pools; the others are passed over, until its run has ended."""
        first = make_job(concurrency_key="k", priority=1)
        others = [make_job(concurrency_key="k", pool="threads"), make_job(concurrency_key="k", queue="mail", task="b")]
        with self.opened() as store:
            store.enqueue([first, *others])
            (running,) = claim(store, 5)
            assert running.id == first.id
            assert (claim(store, 5), claim(store, 5, pool="threads"), claim(store, 5, queues=["mail"])) == ([], [], [])
            finish(store, running, Outcome.succeeded("1"))
            assert ids_of(claim(store, 5, pool="threads")) == [others[0].id]
            assert claim(store, 5) == []

    def test_jobs_with_other_keys_or_none_are_not_held_up(self) -> None:
        """They are claimed in their order, one of each key, those without a key all."""
        keys = ["a", "a", None, "b", "a", None, "b", "c"]
        jobs = [make_job(concurrency_key=key, run_at_us=NOW_US + place) for place, key in enumerate(keys)]
        with self.opened() as store:
            store.enqueue(jobs[::-1])
            assert ids_of(claim(store, 4)) == [jobs[place].id for place in (0, 2, 3, 5)]
            assert ids_of(claim(store, 4)) == [jobs[7].id]

    def test_the_most_urgent_of_a_key_is_claimed_first(self) -> None:
        """In one queue and over the queues: a key is taken once in one claim."""
        late, urgent = make_job(concurrency_key="k"), make_job(concurrency_key="k", priority=5)
        mail = make_job(concurrency_key="k", queue="mail", priority=9)
        with self.opened() as store:
            store.enqueue([late, urgent, mail])
            (first,) = claim(store, 5, queues=["default", "mail"])
            finish(store, first, Outcome.succeeded("1"))
            (second,) = claim(store, 5)
            assert [first.id, second.id] == [urgent.id, mail.id]

    def test_however_a_run_ends_its_key_is_free(self) -> None:
        """Also where it will run again: it waits like the others."""
        ends = [Outcome.succeeded("1"), Outcome.raised(ERROR, 1.0), Outcome.interrupted(), Outcome.crashed(ERROR)]
        with self.opened() as store:
            for outcome in ends:
                job = self._running(store, concurrency_key="k", max_attempts=2, priority=-1)
                other = make_job(concurrency_key="k")
                store.enqueue([other])
                finish(store, job, outcome)
                (next_one,) = claim(store, 1)
                assert next_one.id == other.id
                finish(store, next_one, Outcome.succeeded("1"))
                store.cancel([job.id], NOW_US)

    def test_a_release_and_a_rescue_free_the_key(self) -> None:
        """The job is as ready as the others with its key."""
        with self.opened() as store:
            job = self._running(store, concurrency_key="k")
            store.release([job.claim], NOW_US)
            assert ids_of(claim(store, 1)) == [job.id]
            store.rescue(["worker"], NOW_US)
            assert ids_of(claim(store, 1)) == [job.id]

    def test_a_job_with_a_key_does_not_wait_in_a_pool(self) -> None:
        """A claim of what is not started at once ends before the first that could run now, also over the queues."""
        before, keyed = make_job(priority=1), make_job(concurrency_key="k")
        after, mail = make_job(priority=-1), make_job(queue="mail", priority=-2)
        with self.opened() as store:
            store.enqueue([before, keyed, after, mail])
            assert ids_of(claim(store, 9, queues=["default", "mail"], starts=False)) == [before.id]
            assert claim(store, 9, starts=False) == []
            assert ids_of(claim(store, 1)) == [keyed.id]
            assert ids_of(claim(store, 9, starts=False)) == [after.id, mail.id]

    def test_many_jobs_behind_one_key_hide_no_others(self) -> None:
        """However many are more urgent: the others are found behind them, with a key or without."""
        hidden = [make_job(concurrency_key=f"key {number}", run_at_us=NOW_US + number) for number in range(3)]
        plain = make_job(priority=-1)
        with self.opened() as store:
            store.enqueue([make_job(concurrency_key="many", priority=1) for _ in range(NEAR + 5)])
            store.enqueue([*hidden, plain])
            for queues in ((), ("default",)):
                assert len(claim(store, 1, queues=queues)) == 1
                assert ids_of(claim(store, 9, queues=queues)) == ids_of([*hidden, plain])
                store.rescue(["worker"], NOW_US)

    def test_where_very_many_keys_wait_each_has_its_turn(self) -> None:
        """Behind many jobs with one key, and with more keys than are looked at together."""
        with self.opened() as store:
            store.enqueue([make_job(concurrency_key="many", priority=1) for _ in range(NEAR + 5)])
            store.enqueue([make_job(concurrency_key=f"key {number:05}") for number in range(FAR + 5)])
            claim(store, 1)
            seen = {job.concurrency_key for _ in range(4) for job in claim(store, FAR)}
            assert len(seen) == FAR + 5

    def test_beside_a_paused_queue_jobs_with_keys_are_claimed_in_their_order(self) -> None:
        """Over all queues that are not paused, with those without a key; a paused one takes no key."""
        keys = [("a", "k"), ("b", None), ("paused", "k"), ("c", "k"), ("c", "l"), ("a", None), ("paused", "m")]
        jobs = [make_job(queue=q, concurrency_key=key, priority=9 - place) for place, (q, key) in enumerate(keys)]
        with self.opened() as store:
            store.enqueue(jobs)
            store.pause(["paused"], NOW_US)
            assert claim(store, 9, queues=["paused"]) == []
            first = claim(store, 3)
            assert ids_of(first) == [jobs[place].id for place in (0, 1, 4)]
            finish(store, first[0], Outcome.succeeded("1"))
            assert ids_of(claim(store, 9, queues=["a", "paused", "c"])) == [jobs[5].id, jobs[3].id]
            store.resume(["paused"])
            assert ids_of(claim(store, 9)) == [jobs[6].id]

    def test_a_job_with_a_key_that_has_expired_is_passed_over(self) -> None:
        """The next one of its key runs."""
        late, next_one = make_job(concurrency_key="k", expires_at_us=NOW_US), make_job(concurrency_key="k", priority=-1)
        with self.opened() as store:
            store.enqueue([late, next_one])
            assert ids_of(claim(store, 9)) == [next_one.id]

    def test_threads_that_claim_at_once_run_one_of_each_key(self) -> None:
        """Four claimers end what they claim and claim again: all jobs run, and of one key never two at once."""
        jobs = [make_job(concurrency_key=f"key {number % 5}" if number % 3 else None) for number in range(120)]
        running: list[str | None] = []
        with self.opened() as store:
            store.enqueue(jobs)
            with ThreadPoolExecutor(4) as threads:
                done = list(threads.map(lambda name: _run_all(store, f"worker-{name}", running), range(4)))
            assert sorted(id_ for share in done for id_ in share) == sorted(ids_of(jobs))

    # Pausing

    def test_the_jobs_of_a_paused_queue_wait(self) -> None:
        """They are not claimed until the queue is resumed, whatever their priority; those of others are."""
        urgent, plain, quiet = make_job(queue="mail", priority=9), make_job(), make_job(queue="other", priority=-9)
        with self.opened() as store:
            store.enqueue([urgent, plain, quiet])
            assert store.pause(["mail"], NOW_US) == {"mail"}
            assert ids_of(claim(store, 9)) == [plain.id, quiet.id]
            assert claim(store, 9) == []
            assert store.resume(["mail"]) == {"mail"}
            assert ids_of(claim(store, 9)) == [urgent.id]

    def test_a_worker_of_some_queues_leaves_the_paused_ones_alone(self) -> None:
        """And serves the others in its order."""
        jobs = {name: make_job(queue=name) for name in ("a", "b", "c", "d")}
        with self.opened() as store:
            store.enqueue(list(jobs.values()))
            store.pause(["b", "d"], NOW_US)
            assert ids_of(claim(store, 9, queues=["c", "b", "a"])) == [jobs["c"].id, jobs["a"].id]
            assert claim(store, 9, queues=["b"]) == []

    def test_beside_a_paused_queue_the_most_urgent_jobs_are_claimed_first(self) -> None:
        """Over all queues that are not paused, and no more than asked for."""
        jobs = [make_job(queue=f"queue {n % 3}", priority=n % 4, run_at_us=NOW_US - n) for n in range(12)]
        expected = sorted(jobs, key=lambda job: (-job.priority, job.run_at_us))
        with self.opened() as store:
            store.enqueue([*jobs, make_job(queue="paused", priority=9)])
            store.pause(["paused"], NOW_US)
            claimed = [ids_of(claim(store, 5)) for _ in range(4)]
            assert [len(some) for some in claimed] == [5, 5, 2, 0]
            assert [id_ for some in claimed for id_ in some] == ids_of(expected)

    def test_a_pause_holds_inside_a_transaction(self) -> None:
        """A claim among other verbs finds the paused queue as any other claim does."""
        job = make_job()
        with self.opened() as store:
            store.enqueue([job, make_job(queue="mail", priority=9)])
            store.pause(["mail"], NOW_US)
            with store.transaction():
                assert ids_of(claim(store, 9)) == [job.id]
                assert claim(store, 9) == []

    def test_beside_a_paused_queue_the_same_jobs_may_be_claimed_as_always(self) -> None:
        """Those of the pool, and without `starts` none that may run at most once."""
        once, foreign = make_job(max_crashes=0), make_job(pool="threads")
        with self.opened() as store:
            store.enqueue([once, foreign])
            store.pause(["mail"], NOW_US)
            assert claim(store, 9, starts=False) == []
            assert ids_of(claim(store, 9)) == [once.id]

    def test_a_pause_does_not_touch_what_runs_or_is_sent(self) -> None:
        """What runs goes on to its end, and what is sent is kept."""
        with self.opened() as store:
            job, sent = self._running(store), make_job()
            store.pause(["default"], NOW_US)
            store.enqueue([sent])
            assert finish(store, job, Outcome.succeeded("1")) == {job.claim}
            assert read(store, sent).state is State.READY

    def test_paused_queues_are_told_with_their_times(self) -> None:
        """A second pause changes nothing, and is told; so is a resume of what was not paused."""
        with self.opened() as store:
            assert store.paused_queues() == {}
            assert store.pause(["a", "b", "a"], NOW_US) == {"a", "b"}
            assert store.pause(["b", "c"], NOW_US + 1) == {"c"}
            assert store.paused_queues() == {"a": NOW_US, "b": NOW_US, "c": NOW_US + 1}
            assert store.resume(["b", "nobody"]) == {"b"}
            assert store.resume(["b"]) == set()
            assert store.paused_queues() == {"a": NOW_US, "c": NOW_US + 1}

    def test_a_resume_wakes_who_waits(self) -> None:
        """Else the jobs of the queue would wait for the next look."""
        with self.opened() as store:
            store.pause(["a"], NOW_US)
            with store.wakeup() as wakeup:
                wakeup.wait(0)
                store.resume(["a"])
                assert wakeup.wait(PATIENCE_S)

    def test_claimers_at_once_beside_a_paused_queue_get_each_job_once(self) -> None:
        """None is lost, and none is given twice."""
        jobs = [make_job(queue=f"queue {n % 5}", priority=n % 3) for n in range(100)]
        with self.opened() as store:
            store.enqueue([*jobs, make_job(queue="paused")])
            store.pause(["paused"], NOW_US)
            with ThreadPoolExecutor(4) as threads:
                shares = list(threads.map(lambda name: _claim_all(store, f"worker-{name}"), range(4)))
            shares.append(_claim_all(store, "the last"))
            assert sorted(id_ for share in shares for id_ in share) == sorted(ids_of(jobs))

    # Scheduling

    def test_a_scheduled_job_waits_for_its_time(self) -> None:
        """A job becomes ready by promotion, once its time has come, and not before."""
        job = make_job(state=State.SCHEDULED, run_at_us=NOW_US + 10)
        with self.opened() as store:
            store.enqueue([job])
            assert claim(store, 1) == []
            assert store.promote(NOW_US + 9, 9) == 0
            assert store.promote(NOW_US + 10, 9) == 1
            assert store.promote(NOW_US + 10, 9) == 0
            assert ids_of(claim(store, 1)) == [job.id]

    # Schedules

    def test_a_schedule_goes_on_from_where_it_is(self) -> None:
        """Who declares it again, as each worker does at its start, does not move the time that it was seen to."""
        with self.opened() as store:
            assert store.schedules() == []
            store.keep_schedules([make_schedule("b"), make_schedule("a")])
            store.keep_schedules([make_schedule("a", seen_at_us=NOW_US + 5, task="renamed")])
            assert store.schedules() == [make_schedule("a", task="renamed"), make_schedule("b")]

    def test_a_schedule_with_other_times_begins_anew(self) -> None:
        """Where the cron text or the time zone has changed, from the time given."""
        with self.opened() as store:
            store.keep_schedules([make_schedule("a"), make_schedule("b")])
            changed = [
                make_schedule("a", seen_at_us=NOW_US + 5, cron="0 4 * * *"),
                make_schedule("b", seen_at_us=NOW_US + 5, timezone="Asia/Tokyo"),
            ]
            store.keep_schedules(changed)
            assert store.schedules() == changed

    def test_a_schedule_with_other_times_does_not_go_back(self) -> None:
        """What it was seen to under its old times is not seen to again, by whatever clock."""
        with self.opened() as store:
            store.keep_schedules([make_schedule("a", seen_at_us=NOW_US + 5)])
            store.move_schedule("a", NOW_US + 5, NOW_US + 9, "job")
            store.keep_schedules([make_schedule("a", cron="0 4 * * *")])
            (kept,) = store.schedules()
            assert (kept.cron, kept.seen_at_us, kept.last_job_id) == ("0 4 * * *", NOW_US + 9, "job")

    def test_a_schedule_is_moved_from_where_it_is(self) -> None:
        """Who has seen an older time moves nothing, and is told so; without a job the last one stays."""
        with self.opened() as store:
            store.keep_schedules([make_schedule("a")])
            assert not store.move_schedule("nobody", NOW_US, NOW_US + 1, "job")
            assert store.move_schedule("a", NOW_US, NOW_US + 1, "job")
            assert not store.move_schedule("a", NOW_US, NOW_US + 2, "late")
            assert store.move_schedule("a", NOW_US + 1, NOW_US + 3)
            assert store.schedules() == [make_schedule("a", seen_at_us=NOW_US + 3, last_job_id="job")]

    def test_of_all_that_move_a_schedule_at_once_one_sends(self) -> None:
        """The job is there once, whoever was first, and is the one that the schedule names."""
        with self.opened() as store:
            store.keep_schedules([make_schedule("a")])
            with ThreadPoolExecutor(4) as threads:
                moved = list(threads.map(lambda _: _move_and_send(store), range(4)))
            assert moved.count(True) == 1
            assert found(store) == [store.schedules()[0].last_job_id]

    def test_a_schedule_whose_job_was_not_sent_was_not_moved(self) -> None:
        """Both are one transaction."""
        job = make_job()
        with self.opened() as store:
            store.keep_schedules([make_schedule("a")])
            try:
                with store.transaction():
                    store.move_schedule("a", NOW_US, NOW_US + 1, job.id)
                    store.enqueue([job])
                    raise _Stopped
            except _Stopped:
                pass
            assert (found(store), store.schedules()) == ([], [make_schedule("a")])

    def test_a_forgotten_schedule_is_gone(self) -> None:
        """Others are left alone; an unknown name is no error."""
        with self.opened() as store:
            store.keep_schedules([make_schedule("a"), make_schedule("b")])
            store.forget_schedules(["a", "nobody"])
            assert store.schedules() == [make_schedule("b")]

    def test_promoting_is_bounded_and_begins_with_the_earliest(self) -> None:
        """At most `limit` jobs become ready at once."""
        jobs = [make_job(state=State.SCHEDULED, run_at_us=NOW_US - age) for age in range(3)]
        with self.opened() as store:
            store.enqueue(jobs)
            assert store.promote(NOW_US, 2) == 2
            assert read(store, jobs[0]).state is State.SCHEDULED
            assert store.promote(NOW_US, 2) == 1

    # Expiring

    def test_a_job_that_has_not_begun_in_time_fails(self) -> None:
        """Whether it is ready or waits for its time; with the reason, and without an attempt."""
        jobs = [make_job(expires_at_us=NOW_US + 5), make_job(state=State.SCHEDULED, expires_at_us=NOW_US + 5)]
        with self.opened() as store:
            store.enqueue([*jobs, make_job(), make_job(expires_at_us=NOW_US + 6)])
            assert store.expire(NOW_US + 4, 9) == []
            assert sorted(store.expire(NOW_US + 5, 9)) == sorted(ids_of(jobs))
            assert store.expire(NOW_US + 5, 9) == []
            row = read(store, jobs[0])
            assert (row.state, row.finished_at_us, row.attempt) == (State.FAILED, NOW_US + 5, 0)
            assert row.failure is not None
            assert (row.failure.error_class, store.attempts(ids_of(jobs))) == ("treadle.errors.JobExpired", {})
            assert row.version > 1

    def test_a_job_that_has_expired_is_not_claimed(self) -> None:
        """Also where nobody has failed it yet, in whatever way a claim comes to it."""
        late, good = make_job(priority=9, expires_at_us=NOW_US), make_job(expires_at_us=NOW_US + 1)
        with self.opened() as store:
            store.enqueue([late])
            assert claim(store, 9) == claim(store, 9, queues=["default"]) == []
            store.enqueue([good, make_job(queue="other", priority=9, expires_at_us=NOW_US)])
            store.pause(["paused"], NOW_US)
            assert ids_of(claim(store, 1)) == [good.id]

    def test_a_job_that_runs_does_not_expire(self) -> None:
        """It has begun; but one that waits to be tried again fails, with the attempts that it had."""
        with self.opened() as store:
            job = self._running(store, max_attempts=2, expires_at_us=NOW_US + 5)
            assert store.expire(NOW_US + 9, 9) == []
            finish(store, job, Outcome.raised(ERROR, 60.0))
            assert store.expire(NOW_US + 9, 9) == [job.id]
            assert (read(store, job).state, len(store.attempts([job.id])[job.id])) == (State.FAILED, 1)

    def test_the_whole_of_a_part_that_has_expired_is_told(self) -> None:
        """It fails, as with any part that fails, once the others have ended."""
        with self.opened() as store:
            whole, _ = self._group(store, 2, expires_at_us=NOW_US + 5)
            (running,) = claim(store, 1)
            assert len(store.expire(NOW_US + 5, 9)) == 1
            assert read(store, whole).state is State.BLOCKED
            finish(store, running, Outcome.succeeded("[]"))
            row = read(store, whole)
            assert row.failure is not None
            assert "JobExpired" in row.failure.message

    def test_a_whole_that_has_expired_ends_its_parts(self) -> None:
        """Those that wait are cancelled, and those that run are asked to end: nobody needs them now."""
        whole = make_job(kind=Kind.WHOLE, state=State.BLOCKED, size=2, expires_at_us=NOW_US + 5)
        parts = [make_job(kind=Kind.PART, group_id=whole.id, part=index) for index in range(2)]
        with self.opened() as store:
            store.enqueue([*parts, whole])
            (running,) = claim(store, 1)
            assert store.expire(NOW_US + 5, 9) == [whole.id]
            assert store.cancel_requests("worker") == [running.claim]
            finish(store, running, Outcome.cancelled())
            row = read(store, whole)
            assert row.failure is not None
            assert row.failure.error_class == "treadle.errors.JobExpired"
            assert {row.state for row in store.jobs(ids_of(parts)).values()} == {State.CANCELLED}

    def test_a_whole_and_its_parts_that_expire_at_once_all_fail(self) -> None:
        """Each for itself."""
        whole = make_job(kind=Kind.WHOLE, state=State.BLOCKED, size=1, expires_at_us=NOW_US)
        part = make_job(kind=Kind.PART, group_id=whole.id, expires_at_us=NOW_US)
        with self.opened() as store:
            store.enqueue([part, whole])
            assert sorted(store.expire(NOW_US, 9)) == sorted([part.id, whole.id])
            reasons = [row.failure.error_class for row in store.jobs([part.id, whole.id]).values() if row.failure]
            assert reasons == ["treadle.errors.JobExpired"] * 2

    def test_expiring_is_bounded_and_begins_with_the_oldest(self) -> None:
        """At most `limit` jobs fail at once."""
        jobs = [make_job(expires_at_us=NOW_US - age) for age in range(3)]
        with self.opened() as store:
            store.enqueue(jobs)
            assert store.expire(NOW_US, 2) == [jobs[2].id, jobs[1].id]
            assert store.expire(NOW_US, 2) == [jobs[0].id]

    def test_a_job_that_has_expired_frees_its_key(self) -> None:
        """As any end does."""
        with self.opened() as store:
            store.enqueue([make_job(unique_key="k", expires_at_us=NOW_US)])
            store.expire(NOW_US, 9)
            assert store.unfinished("task", "k") is None
            store.enqueue([make_job(unique_key="k")])

    def test_a_job_that_has_expired_keeps_no_other_from_its_key(self) -> None:
        """Also where nobody has failed it yet, as while no worker lives: that is done then, and told."""
        whole = make_job(unique_key="k", kind=Kind.WHOLE, state=State.BLOCKED, size=1, expires_at_us=NOW_US)
        part = make_job(kind=Kind.PART, group_id=whole.id)
        early, twins = (
            [make_job(unique_key="k", enqueued_at_us=NOW_US + us) for us in (-1, 0)],
            [make_job(unique_key="k")],
        )
        with self.opened() as store:
            store.enqueue([part, whole])
            assert store.enqueue(early[:1]).stand_ins.keys() == {early[0].id}
            assert store.enqueue(early[1:]) == Enqueued(expired=(whole.id,))
            assert store.enqueue(twins).stand_ins == {twins[0].id: read(store, early[1])}
            row = read(store, whole)
            assert row.failure is not None
            assert (row.finished_at_us, row.failure.error_class) == (NOW_US, "treadle.errors.JobExpired")
            assert read(store, part).state is State.CANCELLED

    def test_a_job_that_has_expired_while_it_runs_keeps_its_key(self) -> None:
        """It has begun in time."""
        with self.opened() as store:
            job = self._running(store, unique_key="k", expires_at_us=NOW_US + 1)
            later = make_job(unique_key="k", enqueued_at_us=NOW_US + 9)
            assert store.enqueue([later]) == Enqueued({later.id: read(store, job)})

    # Forgetting results

    def test_a_result_is_kept_for_its_time_only(self) -> None:
        """The job stays, succeeded and without a result; others keep theirs."""
        with self.opened() as store:
            job, other = self._running(store, result_ttl_us=5), self._running(store)
            for each in (job, other):
                finish(store, each, Outcome.succeeded("null"))
            before = read(store, job)
            assert store.forget_results(NOW_US + 4, 9) == 0
            assert store.forget_results(NOW_US + 5, 9) == 1
            assert store.forget_results(NOW_US + 5, 9) == 0
            row = read(store, job)
            assert (row.state, row.result, row.version > before.version) == (State.SUCCEEDED, None, True)
            assert read(store, other).result == "null"

    def test_the_results_of_parts_are_kept_until_that_of_their_whole_goes(self) -> None:
        """The whole needs them until then, whatever the parts themselves say; after it nobody does."""
        with self.opened() as store:
            whole = make_job(kind=Kind.WHOLE, state=State.BLOCKED, size=1, result_ttl_us=5)
            store.enqueue([make_job(kind=Kind.PART, group_id=whole.id, result_ttl_us=0), whole])
            finish(store, claim(store, 1)[0], Outcome.succeeded("[1]"))
            assert store.forget_results(NOW_US * 2, 9) == 0
            finish(store, claim(store, 1)[0], Outcome.succeeded("1"))
            assert store.forget_results(NOW_US + 4, 9) == 0
            assert store.part_results([whole.id]) == {whole.id: ["[1]"]}
            assert store.forget_results(NOW_US + 5, 9) == 1
            assert (store.part_results([whole.id]), read(store, whole).result) == ({whole.id: []}, None)

    def test_how_the_parts_of_a_whole_stand_can_be_read(self) -> None:
        """In their order, with their sizes and times; and of what is no whole there are none."""
        with self.opened() as store:
            whole, parts = self._group(store, 3)
            first, _ = claim(store, 2)
            finish(store, first, Outcome.succeeded("[1]"))
            rows = [read(store, part) for part in parts]
            assert {row.state for row in rows} == {State.SUCCEEDED, State.RUNNING, State.READY}
            wanted = [Part(row.state, row.size, row.started_at_us, row.finished_at_us) for row in rows]
            assert store.parts(whole.id) == wanted
            assert store.parts(parts[0].id) == store.parts("nobody") == []

    def test_a_whole_that_failed_keeps_the_results_of_its_parts(self) -> None:
        """It may be sent once more, and needs them then."""
        with self.opened() as store:
            whole, _ = self._group(store, 2, result_ttl_us=0)
            good, bad = claim(store, 2)
            finish(store, good, Outcome.succeeded("[1]"))
            finish(store, bad, Outcome.raised(ERROR, None))
            assert store.forget_results(NOW_US * 2, 9) == 0
            assert store.redrive([whole.id], NOW_US) == {whole.id}

    def test_forgetting_is_bounded_and_begins_with_the_oldest(self) -> None:
        """At most `limit` results go at once."""
        with self.opened() as store:
            jobs = [self._running(store, result_ttl_us=10 - age) for age in range(3)]
            for job in jobs:
                finish(store, job, Outcome.succeeded("1"))
            assert store.forget_results(NOW_US + 10, 2) == 2
            assert [read(store, job).result for job in jobs] == ["1", None, None]

    # Forgetting jobs

    def test_a_forgotten_job_has_nothing_left_of_what_it_was_given_and_said(self) -> None:
        """Its state, times and labels stay, and the class of its error; to forget it once more counts nothing."""
        with self.opened() as store:
            job = self._running(store, labels={"tenant": "acme"}, unique_key="ann", concurrency_key="ann")
            store.report([Report(job.claim, Progress(1, 4, "of Ann"), ((NOW_US, '"Ann"'),))], NOW_US)
            finish(store, job, Outcome.raised(ERROR, None))
            before = read(store, job)
            assert store.forget([job.id, "nobody"]) == Forgotten(1, 0)
            assert store.forget([job.id]) == Forgotten()
            row = read(store, job)
            blank = {"payload": "", "failure": ERROR.forgotten(), "unique_key": None, "concurrency_key": None}
            assert row == msgspec.structs.replace(before, progress=Progress(1, 4), version=row.version, **blank)
            assert (row.is_forgotten, row.version > before.version) == (True, True)
            assert store.messages(job.id) == []
            assert [attempt.failure for attempt in store.attempts([job.id])[job.id]] == [ERROR.forgotten()]

    def test_the_result_of_a_forgotten_job_is_gone(self) -> None:
        """The job is still known to have succeeded; others keep all that they have."""
        with self.opened() as store:
            job, other = self._running(store), self._running(store)
            for each in (job, other):
                finish(store, each, Outcome.succeeded("1"))
            kept = read(store, other)
            assert store.forget([job.id]) == Forgotten(1, 0)
            assert (read(store, job).state, read(store, job).result) == (State.SUCCEEDED, None)
            assert read(store, other) == kept

    def test_what_has_not_ended_is_not_forgotten(self) -> None:
        """Nor what a whole that has not ended needs: the results of its parts."""
        with self.opened() as store:
            waiting, running = make_job(queue="mail"), self._running(store)
            store.enqueue([waiting])
            whole, parts = self._group(store, 2)
            finish(store, claim(store, 1, queues=["default"])[0], Outcome.succeeded("[1]"))
            ids = [waiting.id, running.id, whole.id, *ids_of(parts)]
            before = store.jobs(ids)
            assert store.forget(ids) == Forgotten(0, 5)
            assert store.jobs(ids) == before

    def test_a_whole_is_forgotten_with_its_parts_once_it_has_ended(self) -> None:
        """What failed in a part stands in the reason of its whole, too."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            finish(store, claim(store, 1)[0], Outcome.raised(ERROR, None))
            assert ERROR.message in str(read(store, whole).failure)
            assert store.forget([whole.id, part.id]) == Forgotten(2, 0)
            assert all(ERROR.message not in str(read(store, job).failure) for job in (whole, part))

    def test_a_forgotten_job_is_not_sent_once_more(self) -> None:
        """It could not run; nor a whole that needs what a forgotten part was given, or had returned."""
        with self.opened() as store:
            job = make_job()
            store.enqueue([job])
            groups = [self._group(store, 2) for _ in range(2)]
            store.cancel([job.id, *(whole.id for whole, _ in groups)], NOW_US)
            first, second = ids_of([whole for whole, _ in groups])
            assert store.forget([job.id, groups[0][1][0].id]) == Forgotten(2, 0)
            assert store.redrive([job.id, first, second], NOW_US) == {second}

    def test_what_a_forgotten_run_has_told_is_not_kept_when_it_comes_late(self) -> None:
        """A run may write its end itself, before its worker has written what it told."""
        with self.opened() as store:
            job = self._running(store)
            finish(store, job, Outcome.succeeded("1"))
            store.forget([job.id])
            store.report(
                [Report(job.claim, Progress(1, 2, "Ann"), ((NOW_US, '"Ann"'),)), Report(job.claim, None)], NOW_US
            )
            assert (store.messages(job.id), read(store, job).progress.message) == ([], "")

    def test_the_jobs_with_some_labels_are_found_in_steps(self) -> None:
        """Each step looks at so many jobs, whatever their labels, and says how far it came."""
        labels = [{"tenant": "acme", "n": "1"}, {}, {"tenant": "acme"}, {"tenant": "zoo"}]
        jobs = [make_job(id=f"job-{number}", labels=each) for number, each in enumerate(labels)]
        with self.opened() as store:
            store.enqueue(jobs)
            assert store.labelled({"tenant": "acme"}, 2) == (["job-0"], "job-1")
            assert store.labelled({"tenant": "acme"}, 9, "job-1") == (["job-2"], "job-3")
            assert store.labelled({"tenant": "acme"}, 9, "job-3") == ([], None)
            assert store.labelled({"tenant": "acme", "n": "1"}, 9) == (["job-0"], "job-3")

    # Reports

    def test_progress_is_the_newest_that_was_reported(self) -> None:
        """A report replaces the progress before it."""
        with self.opened() as store:
            job = self._running(store)
            store.report([Report(job.claim, Progress(1, 4, "reading"))], NOW_US)
            store.report([Report(job.claim, Progress(2.5, None, ""))], NOW_US)
            assert read(store, job).progress == Progress(2.5, None, "")

    def test_messages_are_numbered_from_one(self) -> None:
        """Messages are kept in order with their time, and can be read from a number on."""
        with self.opened() as store:
            job = self._running(store)
            store.report([Report(job.claim, None, ((NOW_US + 1, '"a"'), (NOW_US + 2, "[1]")))], NOW_US)
            store.report([Report(job.claim, Progress(1), ((NOW_US + 3, "null"),))], NOW_US)
            kept = [(m.number, m.sent_at_us, m.body) for m in store.messages(job.id)]
            assert kept == [(1, NOW_US + 1, "a"), (2, NOW_US + 2, [1]), (3, NOW_US + 3, None)]
            assert [m.number for m in store.messages(job.id, after=2)] == [3]

    def test_a_message_leaves_the_progress_as_it_is(self) -> None:
        """A report without progress keeps what was reported before."""
        with self.opened() as store:
            job = self._running(store)
            store.report([Report(job.claim, Progress(1, 4, "reading"))], NOW_US)
            store.report([Report(job.claim, None, ((NOW_US, '"a"'),))], NOW_US)
            assert read(store, job).progress == Progress(1, 4, "reading")

    def test_reports_of_an_old_claim_are_dropped(self) -> None:
        """Neither progress nor messages of a run whose claim does not hold are kept."""
        with self.opened() as store:
            job = self._running(store)
            old = Claim(job.id, job.token - 1)
            store.report([Report(old, Progress(9), ((NOW_US, '"late"'),)), Report(old, None)], NOW_US)
            assert store.messages(job.id) == []
            assert read(store, job) == job

    def test_reports_of_a_run_that_has_succeeded_are_kept(self) -> None:
        """A run may write its end itself, before its worker has written what it told; another end is the end of it."""
        with self.opened() as store:
            one, other = self._running(store), self._running(store)
            finish(store, one, Outcome.succeeded("1"))
            finish(store, other, Outcome.raised(ERROR, None))
            for job in (one, other):
                store.report([Report(job.claim, Progress(4, 4), ((NOW_US, '"done"'),))], NOW_US)
            assert (read(store, one).progress, len(store.messages(one.id))) == (Progress(4, 4), 1)
            assert (read(store, other).progress, store.messages(other.id)) == (Progress(), [])

    def test_every_visible_change_raises_the_version(self) -> None:
        """State, progress and messages each make the version larger, so a reader can tell."""
        with self.opened() as store:
            sent = make_job()
            store.enqueue([sent])
            versions = [read(store, sent).version]
            (job,) = claim(store, 1)
            versions.append(read(store, sent).version)
            for report in (Report(job.claim, Progress(1)), Report(job.claim, None, ((NOW_US, '"a"'),))):
                store.report([report], NOW_US)
                versions.append(read(store, sent).version)
            finish(store, job, Outcome.succeeded("1"))
            versions.append(read(store, sent).version)
            assert versions == sorted(set(versions))
            assert versions[0] > 0

    # Finishing

    def test_success_keeps_the_result_and_the_attempt(self) -> None:
        """A finished job has its result and its end, and one attempt says how it went."""
        with self.opened() as store:
            job = self._running(store)
            assert finish(store, job, Outcome.succeeded("[1]"), at_us=NOW_US + 5) == {job.claim}
            row = read(store, job)
            assert (row.state, row.result, row.failure) == (State.SUCCEEDED, "[1]", None)
            assert (row.started_at_us, row.finished_at_us, row.worker_id) == (NOW_US, NOW_US + 5, None)
            (attempt,) = store.attempts([job.id])[job.id]
            assert (attempt.number, attempt.worker_id, attempt.outcome) == (1, "worker", "succeeded")
            assert (attempt.started_at_us, attempt.ended_at_us, attempt.failure) == (NOW_US, NOW_US + 5, None)

    def test_failure_keeps_the_reason(self) -> None:
        """A failed job, and its attempt, hold the error with its traceback; there is no result."""
        with self.opened() as store:
            job = self._running(store)
            finish(store, job, Outcome.raised(ERROR, None))
            row = read(store, job)
            assert (row.state, row.failure, row.result) == (State.FAILED, ERROR, None)
            assert store.attempts([job.id])[job.id][0].failure == ERROR

    def test_a_retry_waits_for_its_time_with_the_attempt_counted(self) -> None:
        """A job that is tried again is scheduled; its attempts stay, oldest first."""
        with self.opened() as store:
            job = self._running(store, max_attempts=2)
            finish(store, job, Outcome.raised(ERROR, 3.0))
            row = read(store, job)
            assert (row.state, row.run_at_us, row.attempt) == (State.SCHEDULED, NOW_US + 3_000_000, 1)
            assert (row.worker_id, row.started_at_us, row.failure) == (None, None, None)
            store.promote(NOW_US + 3_000_000, 9)
            (again,) = claim(store, 1)
            assert (again.attempt, again.token) == (2, 2)
            finish(store, again, Outcome.succeeded("1"))
            assert [a.outcome for a in store.attempts([job.id])[job.id]] == ["raised", "succeeded"]

    def test_a_snoozed_job_waits_for_its_time_with_its_attempt_refunded(self) -> None:
        """It may do so on its only attempt, as often as it likes; each run is kept, and is no failure."""
        with self.opened() as store:
            job = self._running(store)
            for runs in (1, 2):
                finish(store, job, Outcome.snoozed(3.0))
                row = read(store, job)
                assert (row.state, row.run_at_us, row.attempt) == (State.SCHEDULED, NOW_US + 3_000_000, 0)
                assert (row.worker_id, row.started_at_us, row.failure) == (None, None, None)
                assert [(a.outcome, a.failure) for a in store.attempts([job.id])[job.id]] == [("snoozed", None)] * runs
                assert store.promote(NOW_US + 2_999_999, 9) == 0
                store.promote(NOW_US + 3_000_000, 9)
                (job,) = claim(store, 1)
                assert (job.attempt, job.token) == (1, runs + 1)

    def test_a_rejected_job_fails_whatever_attempts_are_left(self) -> None:
        """With the reason, as the whole that waits for it is told."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1, max_attempts=5)
            finish(store, claim(store, 1)[0], Outcome.rejected(ERROR))
            assert (read(store, part).state, read(store, part).failure) == (State.FAILED, ERROR)
            assert [a.outcome for a in store.attempts([part.id])[part.id]] == ["rejected"]
            assert read(store, whole).state is State.FAILED

    def test_an_interrupted_job_is_ready_with_its_attempt_refunded(self) -> None:
        """An interrupt costs neither an attempt nor a crash."""
        with self.opened() as store:
            job = self._running(store)
            finish(store, job, Outcome.interrupted())
            row = read(store, job)
            assert (row.state, row.attempt, row.crashes) == (State.READY, 0, 0)

    def test_a_crash_is_counted_and_the_job_is_ready(self) -> None:
        """A crash costs no attempt, until there were more than the job allows."""
        with self.opened() as store:
            job = self._running(store, max_crashes=1)
            finish(store, job, Outcome.crashed(ERROR))
            row = read(store, job)
            assert (row.state, row.attempt, row.crashes) == (State.READY, 0, 1)
            (again,) = claim(store, 1)
            finish(store, again, Outcome.crashed(ERROR))
            assert (read(store, job).state, read(store, job).crashes) == (State.FAILED, 2)

    def test_a_limit_that_was_passed_is_an_error_like_any_other(self) -> None:
        """It costs an attempt; the last one fails the job with its reason."""
        with self.opened() as store:
            job = self._running(store, max_attempts=2)
            finish(store, job, Outcome.timed_out(ERROR, 0.0))
            assert (read(store, job).state, read(store, job).attempt) == (State.SCHEDULED, 1)
            store.promote(NOW_US, 9)
            (again,) = claim(store, 1)
            finish(store, again, Outcome.out_of_memory(ERROR, None))
            assert (read(store, job).state, read(store, job).failure) == (State.FAILED, ERROR)
            assert [a.outcome for a in store.attempts([job.id])[job.id]] == ["timed_out", "out_of_memory"]

    def test_a_late_result_changes_nothing(self) -> None:
        """An ending whose claim does not hold is refused, and writes no attempt."""
        with self.opened() as store:
            old = self._running(store)
            finish(store, old, Outcome.interrupted())
            (new,) = claim(store, 1)
            assert finish(store, old, Outcome.succeeded('"late"')) == set()
            assert read(store, new) == new
            assert len(store.attempts([new.id])[new.id]) == 1

    def test_a_run_ends_once(self) -> None:
        """The second ending of one claim is refused."""
        with self.opened() as store:
            job = self._running(store)
            assert finish(store, job, Outcome.succeeded("1")) == {job.claim}
            assert finish(store, job, Outcome.succeeded("2")) == set()
            assert read(store, job).result == "1"

    def test_one_late_result_does_not_hinder_the_others(self) -> None:
        """In a list of endings each is accepted or refused by itself."""
        with self.opened() as store:
            store.enqueue([make_job(), make_job()])
            late, good = claim(store, 2)
            store.release([late.claim], NOW_US)
            endings = [ending(late, Outcome.succeeded("1")), ending(good, Outcome.succeeded("2"))]
            assert store.finish(endings) == {good.claim}
            assert read(store, good).state is State.SUCCEEDED

    # Cancelling

    def test_a_job_that_has_not_started_is_cancelled(self) -> None:
        """Ready and scheduled jobs can be cancelled, and are never claimed then."""
        ready, scheduled = make_job(), make_job(state=State.SCHEDULED)
        with self.opened() as store:
            store.enqueue([ready, scheduled])
            assert store.cancel([ready.id, scheduled.id, "nobody"], NOW_US + 1) == {ready.id, scheduled.id}
            assert {job.state for job in store.jobs([ready.id, scheduled.id]).values()} == {State.CANCELLED}
            assert read(store, ready).finished_at_us == NOW_US + 1
            assert store.promote(NOW_US * 2, 9) == 0
            assert claim(store, 9) == []

    def test_a_job_that_has_ended_is_not_cancelled(self) -> None:
        """It stays as it is."""
        with self.opened() as store:
            job = self._running(store)
            finish(store, job, Outcome.succeeded("1"))
            assert store.cancel([job.id], NOW_US) == set()
            assert (read(store, job).state, read(store, job).cancel_requested_at_us) == (State.SUCCEEDED, None)

    def test_a_job_that_runs_is_asked_to_end(self) -> None:
        """It runs on, and its worker, and no other, is told which run is meant; the first request counts."""
        with self.opened() as store:
            job = self._running(store)
            assert store.cancel_requests("worker") == []
            assert store.cancel([job.id], NOW_US + 1) == {job.id}
            asked = read(store, job)
            assert (asked.state, asked.cancel_requested_at_us) == (State.RUNNING, NOW_US + 1)
            assert asked.version > job.version
            assert store.cancel([job.id], NOW_US + 2) == {job.id}
            assert read(store, job) == asked
            assert (store.cancel_requests("worker"), store.cancel_requests("other")) == ([job.claim], [])

    def test_a_run_that_was_ended_since_somebody_cancelled_is_cancelled(self) -> None:
        """With its time, without a reason; its attempt says so, and nothing is left to be asked for."""
        with self.opened() as store:
            job = self._running(store, max_attempts=5)
            store.cancel([job.id], NOW_US)
            assert finish(store, job, Outcome.cancelled(), at_us=NOW_US + 5) == {job.claim}
            row = read(store, job)
            assert (row.state, row.finished_at_us, row.failure) == (State.CANCELLED, NOW_US + 5, None)
            assert (row.worker_id, row.started_at_us) == (None, NOW_US)
            assert [a.outcome for a in store.attempts([job.id])[job.id]] == ["cancelled"]
            assert store.cancel_requests("worker") == []

    def test_a_job_that_was_to_be_cancelled_does_not_run_again(self) -> None:
        """Whatever else its run ended in; what that was stays in the attempt."""
        ends = [Outcome.raised(ERROR, 1.0), Outcome.timed_out(ERROR, 1.0), Outcome.snoozed(1.0),
                Outcome.interrupted(), Outcome.crashed(ERROR), Outcome.unknown_task(ERROR)]  # fmt: skip
        with self.opened() as store:
            for outcome in ends:
                job = self._running(store, max_attempts=5)
                store.cancel([job.id], NOW_US)
                assert finish(store, job, outcome) == {job.claim}
                assert (read(store, job).state, read(store, job).failure) == (State.CANCELLED, None)
                assert store.attempts([job.id])[job.id][0].outcome == outcome.kind

    def test_an_answer_that_came_before_the_cancel_stands(self) -> None:
        """A value is kept, and so is the error of the last attempt."""
        with self.opened() as store:
            good, bad = self._running(store), self._running(store)
            store.cancel([good.id, bad.id], NOW_US)
            finish(store, good, Outcome.succeeded("1"))
            finish(store, bad, Outcome.raised(ERROR, None))
            assert (read(store, good).state, read(store, good).result) == (State.SUCCEEDED, "1")
            assert (read(store, bad).state, read(store, bad).failure) == (State.FAILED, ERROR)

    def test_a_released_job_that_was_to_be_cancelled_is_cancelled(self) -> None:
        """It never ran, so there is no attempt; a whole that waits for it is told."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            (held,) = claim(store, 1, starts=False)
            assert store.cancel([part.id], NOW_US) == {part.id}
            store.release([held.claim], NOW_US + 3)
            row = read(store, part)
            assert (row.state, row.finished_at_us, row.attempt) == (State.CANCELLED, NOW_US + 3, 0)
            assert store.attempts([part.id]) == {}
            assert read(store, whole).state is State.FAILED

    def test_a_rescued_job_that_was_to_be_cancelled_is_cancelled(self) -> None:
        """Whether it had started or not, and whatever crashes it may have."""
        with self.opened() as store:
            jobs = [self._running(store), self._running(store, max_crashes=0)]
            store.enqueue([make_job()])
            jobs += claim(store, 1, starts=False)
            store.cancel(ids_of(jobs), NOW_US)
            store.rescue(["worker"], NOW_US + 1)
            assert {row.state for row in store.jobs(ids_of(jobs)).values()} == {State.CANCELLED}
            assert claim(store, 9) == []

    # Sending once more

    def test_a_failed_job_is_sent_once_more(self) -> None:
        """Under its id, with one attempt more where none is left; the earlier ones stay."""
        with self.opened() as store:
            job = self._running(store)
            finish(store, job, Outcome.raised(ERROR, None))
            failed = read(store, job)
            assert store.redrive([job.id, "nobody"], NOW_US + 5) == {job.id}
            row = read(store, job)
            assert (row.state, row.run_at_us, row.redriven_at_us) == (State.READY, NOW_US + 5, NOW_US + 5)
            assert (row.attempt, row.max_attempts, row.failure, row.finished_at_us) == (1, 2, None, None)
            assert row.version > failed.version
            (again,) = claim(store, 1)
            assert (again.attempt, again.token) == (2, 2)
            finish(store, again, Outcome.succeeded("1"))
            assert [a.outcome for a in store.attempts([job.id])[job.id]] == ["raised", "succeeded"]

    def test_what_was_held_against_a_job_is_forgotten_when_it_is_sent_once_more(self) -> None:
        """Crashes, the wish to cancel it, its expiry, and how far it was."""
        with self.opened() as store:
            job = self._running(store, max_crashes=0, max_attempts=5, expires_at_us=NOW_US + 9)
            store.report([Report(job.claim, Progress(1, 4, "reading"), ((NOW_US, '"a"'),))], NOW_US)
            before = read(store, job)
            store.cancel([job.id], NOW_US)
            finish(store, job, Outcome.crashed(ERROR))
            assert store.redrive([job.id], NOW_US) == {job.id}
            row = read(store, job)
            assert (row.crashes, row.attempt, row.max_attempts) == (0, 1, 5)
            assert (row.cancel_requested_at_us, row.expires_at_us, row.progress) == (None, None, Progress())
            assert row.version > before.version
            assert len(store.messages(job.id)) == 1

    def test_a_job_that_was_cancelled_before_it_ran_may_be_sent_once_more(self) -> None:
        """It has all its attempts still."""
        job = make_job(max_attempts=2)
        with self.opened() as store:
            store.enqueue([job])
            store.cancel([job.id], NOW_US)
            assert store.redrive([job.id], NOW_US) == {job.id}
            assert (claim(store, 1)[0].id, read(store, job).max_attempts) == (job.id, 2)

    def test_a_job_that_has_not_gone_wrong_is_not_sent_once_more(self) -> None:
        """One that waits, runs, or has succeeded stays as it is."""
        with self.opened() as store:
            done = self._running(store)
            finish(store, done, Outcome.succeeded("1"))
            jobs = [done, self._running(store), make_job()]
            store.enqueue(jobs[2:])
            before = store.jobs(ids_of(jobs))
            assert store.redrive(ids_of(jobs), NOW_US) == set()
            assert store.jobs(ids_of(jobs)) == before

    def test_a_late_end_of_a_job_that_was_sent_once_more_is_refused(self) -> None:
        """It belongs to a run of before."""
        with self.opened() as store:
            old = self._running(store)
            finish(store, old, Outcome.raised(ERROR, None))
            store.redrive([old.id], NOW_US)
            claim(store, 1)
            assert finish(store, old, Outcome.succeeded('"late"')) == set()

    def test_a_whole_is_sent_once_more_with_the_parts_that_did_not_succeed(self) -> None:
        """It waits for them; the others keep their results, and count in its progress."""
        with self.opened() as store:
            whole, _ = self._group(store, 3, size=5)
            good, bad, unwanted = claim(store, 9)
            store.cancel([unwanted.id], NOW_US)
            for job, outcome in ((good, Outcome.succeeded("[1]")), (bad, Outcome.raised(ERROR, None))):
                finish(store, job, outcome)
            finish(store, unwanted, Outcome.cancelled())
            assert store.redrive([whole.id], NOW_US + 5) == {whole.id}
            assert (read(store, whole).state, read(store, whole).progress) == (State.BLOCKED, Progress(5, 15))
            again = claim(store, 9)
            assert sorted(ids_of(again)) == sorted([bad.id, unwanted.id])
            for job in again:
                finish(store, job, Outcome.succeeded(f"[{job.part}]"), at_us=NOW_US + 7)
            assert (read(store, whole).state, read(store, whole).progress) == (State.READY, Progress(15, 15))
            assert len(store.part_results([whole.id])[whole.id]) == 3

    def test_a_whole_that_failed_by_itself_is_ready_at_once(self) -> None:
        """Its parts have all succeeded, and do not run again; how far it was itself is forgotten."""
        with self.opened() as store:
            whole, _ = self._group(store, 1)
            finish(store, claim(store, 1)[0], Outcome.succeeded("[1]"))
            (run,) = claim(store, 1)
            store.report([Report(run.claim, Progress(7, 9, "adding"))], NOW_US)
            finish(store, run, Outcome.raised(ERROR, None))
            assert store.redrive([whole.id], NOW_US) == {whole.id}
            assert read(store, whole).progress == Progress(1, 1)
            assert ids_of(claim(store, 9)) == [whole.id]

    def test_a_part_is_not_sent_once_more_by_itself(self) -> None:
        """Its whole would not hear of it."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            store.cancel([part.id], NOW_US)
            assert store.redrive([part.id], NOW_US) == set()
            assert store.redrive([part.id, whole.id], NOW_US) == {whole.id}

    def test_a_whole_with_a_part_that_runs_is_not_sent_once_more(self) -> None:
        """The part was asked to end, and would fail the whole again: once it has ended, the whole may be sent."""
        with self.opened() as store:
            whole, _ = self._group(store, 2)
            (running,) = claim(store, 1)
            store.cancel([whole.id], NOW_US)
            assert store.redrive([whole.id], NOW_US) == set()
            finish(store, running, Outcome.cancelled())
            assert store.redrive([whole.id], NOW_US) == {whole.id}

    def test_a_whole_with_a_part_that_is_gone_is_not_sent_once_more(self) -> None:
        """It would run without the result of that part."""
        with self.opened() as store:
            whole, _ = self._group(store, 2)
            good, bad = claim(store, 2)
            finish(store, good, Outcome.succeeded("[1]"), at_us=NOW_US - 9)
            finish(store, bad, Outcome.raised(ERROR, None))
            assert store.prune(NOW_US, 0, 9) == 1
            assert store.redrive([whole.id], NOW_US) == set()
            assert read(store, whole).state is State.FAILED

    def test_a_job_whose_unique_key_is_taken_is_not_sent_once_more(self) -> None:
        """An unfinished job of its task has the key; of another task it does not matter, nor once that has ended."""
        old, new = make_job(unique_key="k"), make_job(unique_key="k")
        with self.opened() as store:
            store.enqueue([old])
            store.cancel([old.id], NOW_US)
            store.enqueue([new, make_job(unique_key="k", task="other")])
            with store.transaction():
                assert store.redrive([old.id], NOW_US) == set()
                assert (store.unfinished("task", "k"), store.unfinished("task", "j")) == (read(store, new), None)
            store.cancel([new.id], NOW_US)
            (sent,) = store.redrive([new.id, old.id], NOW_US)
            assert store.unfinished("task", "k") == store.job(sent)

    # Wholes and their parts

    def test_a_whole_is_ready_when_its_last_part_has_succeeded(self) -> None:
        """A whole waits, blocked, for all its parts, and then runs with their results in order."""
        with self.opened() as store:
            whole, _ = self._group(store, 2)
            first, second = claim(store, 9)
            finish(store, second, Outcome.succeeded("[20]"))
            assert read(store, whole).state is State.BLOCKED
            finish(store, first, Outcome.succeeded("[10]"), at_us=NOW_US + 7)
            assert (read(store, whole).state, read(store, whole).run_at_us) == (State.READY, NOW_US + 7)
            by_part = {first.part: "[10]", second.part: "[20]"}
            assert store.part_results([whole.id]) == {whole.id: [by_part[0], by_part[1]]}
            assert ids_of(claim(store, 9)) == [whole.id]

    def test_a_whole_without_results_has_an_empty_list(self) -> None:
        """Each whole that is asked for is in the answer."""
        with self.opened() as store:
            whole, _ = self._group(store, 1)
            assert store.part_results([whole.id]) == {whole.id: []}

    def test_the_progress_of_a_whole_counts_items(self) -> None:
        """Each part that succeeds adds its size to the whole's progress."""
        with self.opened() as store:
            whole, _ = self._group(store, 2, size=5)
            before = read(store, whole)
            assert before.progress == Progress(0, 10)
            finish(store, claim(store, 1)[0], Outcome.succeeded("[]"))
            assert read(store, whole).progress == Progress(5, 10)
            assert read(store, whole).version > before.version

    def test_a_whole_fails_with_its_part_once_all_have_ended(self) -> None:
        """A failed part fails the whole, which names it; the other parts run to their end first."""
        with self.opened() as store:
            whole, _ = self._group(store, 2)
            jobs = {job.part: job for job in claim(store, 9)}
            finish(store, jobs[1], Outcome.raised(ERROR, None))
            assert read(store, whole).state is State.BLOCKED
            finish(store, jobs[0], Outcome.succeeded("[]"), at_us=NOW_US + 7)
            row = read(store, whole)
            assert (row.state, row.finished_at_us) == (State.FAILED, NOW_US + 7)
            assert row.failure is not None
            assert row.failure.message == "1 part did not succeed; part 1: ValueError: no such user"

    def test_a_whole_names_the_parts_that_did_not_succeed(self) -> None:
        """The first ten of them by number, and why the first did not; those that were cancelled are among them."""
        with self.opened() as store:
            whole, parts = self._group(store, 14)
            store.cancel([parts[3].id], NOW_US)
            for job in claim(store, 14):
                finish(store, job, Outcome.succeeded("[]") if job.part == 0 else Outcome.raised(ERROR, None))
            failure = read(store, whole).failure
        named = "13 parts did not succeed (1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more); part 1: ValueError: no such user"
        assert failure is not None
        assert failure.message == named

    def test_how_long_an_item_took_is_known_of_the_last_whole_that_succeeded(self) -> None:
        """The time of all its parts, shared by their items; a whole that fails tells nothing."""
        with self.opened() as store:
            assert store.item_s("task") is None
            for took_us, outcome in ((2_000_000, Outcome.succeeded("[]")), (9_000_000, Outcome.raised(ERROR, None))):
                self._group(store, 2, size=5)
                short, long = claim(store, 2)
                finish(store, short, Outcome.succeeded("[]"), at_us=NOW_US + 1_000_000)
                finish(store, long, outcome, at_us=NOW_US + took_us)
                claim(store, 1)
            assert abs((store.item_s("task") or 0) - 0.3) < 1e-9
            assert store.item_s("other") is None

    def test_a_whole_waits_for_a_part_that_is_tried_again(self) -> None:
        """A part that will be tried again has not ended."""
        with self.opened() as store:
            whole, _ = self._group(store, 1, max_attempts=2)
            finish(store, claim(store, 1)[0], Outcome.raised(ERROR, 0.0))
            assert read(store, whole).state is State.BLOCKED

    def test_cancelling_a_whole_cancels_its_parts(self) -> None:
        """The parts that have not started are cancelled with the whole; the others are asked to end."""
        with self.opened() as store:
            whole, parts = self._group(store, 2)
            (running,) = claim(store, 1)
            assert store.cancel([whole.id], NOW_US) == {whole.id}
            assert store.cancel_requests("worker") == [running.claim]
            finish(store, running, Outcome.cancelled())
            states = {job.state for job in store.jobs([whole.id, *ids_of(parts)]).values()}
            assert states == {State.CANCELLED}

    def test_a_part_that_ends_after_its_whole_was_cancelled_changes_nothing_of_it(self) -> None:
        """What it answered stands; the whole stays cancelled."""
        with self.opened() as store:
            whole, _ = self._group(store, 2)
            (running,) = claim(store, 1)
            store.cancel([whole.id], NOW_US)
            finish(store, running, Outcome.succeeded("[]"))
            assert (read(store, running).state, read(store, whole).state) == (State.SUCCEEDED, State.CANCELLED)

    def test_a_running_part_that_is_cancelled_fails_its_whole(self) -> None:
        """Once it has ended, and not before."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            (running,) = claim(store, 1)
            store.cancel([part.id], NOW_US)
            assert read(store, whole).state is State.BLOCKED
            finish(store, running, Outcome.cancelled())
            assert read(store, whole).state is State.FAILED

    def test_every_cancelled_id_is_told(self) -> None:
        """A part that is given together with its whole is among those cancelled."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            assert store.cancel([whole.id, part.id], NOW_US) == {whole.id, part.id}

    def test_a_whole_that_is_cancelled_with_its_parts_does_not_fail(self) -> None:
        """In whatever order they are given: somebody wanted its end."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            store.cancel([part.id, whole.id], NOW_US)
            assert read(store, whole).state is State.CANCELLED

    def test_a_cancelled_part_fails_its_whole(self) -> None:
        """A whole cannot succeed without each of its parts."""
        with self.opened() as store:
            whole, (part,) = self._group(store, 1)
            assert store.cancel([part.id], NOW_US + 1) == {part.id}
            row = read(store, whole)
            assert (row.state, row.finished_at_us) == (State.FAILED, NOW_US + 1)
            assert row.failure is not None
            assert "part 0: cancelled" in row.failure.message

    # Workers

    def test_workers_are_known_until_they_leave(self) -> None:
        """A worker is listed as it registered, the oldest first."""
        old, new = make_worker("b", started_at_us=1), make_worker("a", started_at_us=2)
        with self.opened() as store:
            store.register(new)
            store.register(old)
            assert store.workers() == [old, new]
            store.deregister([old.id, "nobody"])
            assert store.workers() == [new]

    def test_a_heartbeat_prolongs_the_lease(self) -> None:
        """A heartbeat is kept, and answers False to a worker that is not known."""
        with self.opened() as store:
            store.register(make_worker("me"))
            assert store.heartbeat("me", NOW_US + 1, NOW_US + 9) is True
            assert (store.workers()[0].last_seen_at_us, store.workers()[0].lease_until_us) == (NOW_US + 1, NOW_US + 9)
            assert store.heartbeat("nobody", NOW_US, NOW_US) is False
            assert len(store.workers()) == 1

    def test_a_rescued_job_counts_a_crash(self) -> None:
        """A job that had started under a dead worker is ready again, with the crash and its reason kept."""
        with self.opened() as store:
            store.register(make_worker("worker"))
            job = self._running(store)
            (rescued,) = store.rescue(["worker"], NOW_US + 5)
            row = read(store, job)
            assert rescued.job.id == job.id
            assert (row.state, row.crashes, row.attempt, row.worker_id) == (State.READY, 1, 0, None)
            (attempt,) = store.attempts([job.id])[job.id]
            assert attempt.failure is not None
            assert attempt.failure.error_class == "treadle.errors.WorkerLost"
            assert store.workers() == []

    def test_a_prefetched_job_is_rescued_without_a_crash(self) -> None:
        """A job that had not started under a dead worker is refunded: it is not to blame."""
        with self.opened() as store:
            store.enqueue([make_job()])
            (job,) = claim(store, 1, starts=False)
            assert store.rescue(["worker"], NOW_US) == []
            row = read(store, job)
            assert (row.state, row.crashes, row.attempt) == (State.READY, 0, 0)
            assert store.attempts([job.id]) == {}

    def test_a_job_that_killed_too_many_workers_fails(self) -> None:
        """Over `max_crashes`, and with 0 at once, a rescued job fails with WorkerLost."""
        with self.opened() as store:
            job = self._running(store, max_crashes=0)
            store.rescue(["worker"], NOW_US)
            row = read(store, job)
            assert row.state is State.FAILED
            assert row.failure is not None
            assert row.failure.error_class == "treadle.errors.WorkerLost"

    def test_a_rescue_leaves_other_workers_alone(self) -> None:
        """Only the jobs of the workers named are taken back."""
        with self.opened() as store:
            job = self._running(store)
            assert store.rescue(["somebody else"], NOW_US) == []
            assert read(store, job) == job

    def test_a_worker_that_was_forgotten_claims_nothing(self) -> None:
        """Nobody would rescue what it claims, so it gets nothing until it has registered anew."""
        with self.opened() as store:
            store.enqueue([make_job()])
            store.register(make_worker("worker"))
            store.rescue(["worker"], NOW_US)
            claims = [
                store.claim("worker", 1, NOW_US, pool="processes", queues=q, starts=True) for q in ((), ("default",))
            ]
            assert claims == [[], []]
            assert len(claim(store, 1)) == 1

    def test_a_second_rescue_finds_nothing(self) -> None:
        """Any number of processes may rescue the same worker; one crash is counted."""
        with self.opened() as store:
            job = self._running(store)
            store.rescue(["worker"], NOW_US)
            assert store.rescue(["worker"], NOW_US) == []
            assert read(store, job).crashes == 1

    def test_a_result_after_the_rescue_is_refused(self) -> None:
        """A worker that was taken for dead cannot end a job that was taken back."""
        with self.opened() as store:
            job = self._running(store)
            store.rescue(["worker"], NOW_US)
            assert finish(store, job, Outcome.succeeded('"late"')) == set()
            assert read(store, job).state is State.READY

    def test_a_rescued_part_that_fails_fails_its_whole(self) -> None:
        """Rescue ends a part like any other end does."""
        with self.opened() as store:
            whole, _ = self._group(store, 1, max_crashes=0)
            claim(store, 1)
            store.rescue(["worker"], NOW_US)
            assert read(store, whole).state is State.FAILED

    # Pruning

    def test_old_jobs_are_pruned_by_how_they_ended(self) -> None:
        """Succeeded jobs have one age, failed and cancelled ones another; live jobs are never pruned."""
        with self.opened() as store:
            succeeded, failed = self._running(store), self._running(store)
            cancelled, live = make_job(), make_job()
            store.enqueue([cancelled, live])
            finish(store, succeeded, Outcome.succeeded("1"))
            finish(store, failed, Outcome.raised(ERROR, None))
            store.cancel([cancelled.id], NOW_US)
            assert store.prune(NOW_US + 1, NOW_US, 9) == 1
            assert store.job(succeeded.id) is None
            assert store.prune(NOW_US, NOW_US + 1, 9) == 2
            assert found(store) == [live.id]

    def test_what_hangs_on_a_pruned_job_goes_with_it(self) -> None:
        """Attempts and messages are deleted with their job."""
        with self.opened() as store:
            job = self._running(store)
            store.report([Report(job.claim, Progress(1), ((NOW_US, '"a"'),))], NOW_US)
            finish(store, job, Outcome.succeeded("1"))
            store.prune(NOW_US + 1, NOW_US + 1, 9)
            assert store.attempts([job.id]) == {}
            assert store.messages(job.id) == []

    def test_pruning_is_bounded_and_begins_with_the_oldest(self) -> None:
        """At most `limit` jobs are deleted at once."""
        with self.opened() as store:
            jobs = [self._running(store) for _ in range(3)]
            for age, job in enumerate(jobs):
                finish(store, job, Outcome.succeeded("1"), at_us=NOW_US - age)
            assert store.prune(NOW_US + 1, NOW_US + 1, 2) == 2
            assert found(store) == [jobs[0].id]

    def test_the_parts_of_a_live_whole_are_not_pruned(self) -> None:
        """A whole that has not ended still needs the results of its parts."""
        with self.opened() as store:
            whole, _ = self._group(store, 2)
            done, rest = claim(store, 2)
            finish(store, done, Outcome.succeeded("[1]"))
            assert store.prune(NOW_US + 1, NOW_US + 1, 9) == 0
            finish(store, rest, Outcome.succeeded("[2]"))
            finish(store, claim(store, 1)[0], Outcome.succeeded("[1,2]"))
            assert store.prune(NOW_US + 1, NOW_US + 1, 9) == 3
            assert store.job(whole.id) is None

    def test_upkeep_harms_nothing(self) -> None:
        """What the store needs once in a while may be done at any time."""
        with self.opened() as store:
            job = self._running(store)
            store.upkeep()
            assert read(store, job) == job

    # Waking up

    def test_a_waiter_wakes_when_something_changed(self) -> None:
        """A commit ends the wait, also one from another opening of the store."""
        with self.opened() as store, store.wakeup() as wakeup:
            assert not wakeup.wait(0)
            other = self.reopen(store)
            try:
                with _later(lambda: other.enqueue([make_job()])):
                    assert wakeup.wait(PATIENCE_S)
            finally:
                other.close()

    def test_a_change_before_the_wait_is_not_missed(self) -> None:
        """What happened between two waits ends the second one at once."""
        with self.opened() as store, store.wakeup() as wakeup:
            store.enqueue([make_job()])
            assert wakeup.wait(PATIENCE_S)

    def test_any_thread_can_wake_a_waiter(self) -> None:
        """`wake` ends the present wait, or the next one."""
        with self.opened() as store, store.wakeup() as wakeup:
            wakeup.wake()
            assert wakeup.wait(PATIENCE_S)
            with _later(wakeup.wake):
                assert wakeup.wait(PATIENCE_S)

    def test_a_waiter_may_be_woken_after_its_end(self) -> None:
        """`wake` after `close` does nothing: a signal may come at any time."""
        with self.opened() as store:
            wakeup = store.wakeup()
            wakeup.close()
            wakeup.wake()

    def _running(self, store: Store, **fields: Any) -> Job:
        """A job that the worker `worker` holds; nothing else may be ready."""
        store.enqueue([make_job(**fields)])
        return claim(store, 1)[0]

    def _stands_in(self, store: Store, job: Job) -> bool:
        """Whether this job is given for a new one with its key."""
        new = make_job(unique_key=job.unique_key)
        return store.enqueue([new]).stand_ins == {new.id: read(store, job)}

    def _group(self, store: Store, parts: int, size: int = 1, **fields: Any) -> tuple[Job, list[Job]]:
        """A whole that was sent with its parts."""
        whole = make_job(kind=Kind.WHOLE, state=State.BLOCKED, size=parts * size)
        jobs = [make_job(kind=Kind.PART, group_id=whole.id, part=index, size=size, **fields) for index in range(parts)]
        store.enqueue([*jobs, whole])
        return whole, jobs


class _Stopped(Exception):
    """Leaves a transaction."""


def make_job(**fields: Any) -> Job:
    """A job as a sender makes it: ready, with an id of its own."""
    fields = {"state": State.READY, "enqueued_at_us": NOW_US, "run_at_us": NOW_US, **fields}
    return Job(**{"id": new_id(), "task": "task", "payload": '{"args":[],"kwargs":{}}', **fields})


def make_worker(worker_id: str, started_at_us: int = NOW_US) -> WorkerRow:
    return WorkerRow(
        id=worker_id, host="host", pid=1, kind="process", started_at_us=started_at_us,
        last_seen_at_us=NOW_US, lease_until_us=NOW_US,
    )  # fmt: skip


def make_schedule(name: str, **fields: Any) -> ScheduleRow:
    fields = {"cron": "0 3 * * *", "timezone": "UTC", "task": "task", "seen_at_us": NOW_US, **fields}
    return ScheduleRow(name=name, **fields)


def read(store: Store, job: Job) -> Job:
    """The job as it is now."""
    row = store.job(job.id)
    assert row is not None
    return row


def claim(
    store: Store, limit: int, *, worker_id: str = "worker", pool: str = "processes", queues: Sequence[str] = (),
    starts: bool = True,
) -> list[Job]:  # fmt: skip
    """What a worker gets, which is made known for it."""
    if worker_id not in {worker.id for worker in store.workers()}:
        store.register(make_worker(worker_id))
    return store.claim(worker_id, limit, NOW_US, pool=pool, queues=queues, starts=starts)


def ending(job: Job, outcome: Outcome, at_us: int = NOW_US) -> Ending:
    return Ending.of(job, outcome, at_us, unknown_task_s=60)


def finish(store: Store, job: Job, outcome: Outcome, at_us: int = NOW_US) -> set[Claim]:
    return store.finish([ending(job, outcome, at_us)])


def found(store: Store, **wanted: Any) -> list[str]:
    return ids_of(store.find(Query(**wanted)))


def ids_of(jobs: Sequence[Job]) -> list[str]:
    return [job.id for job in jobs]


def assert_refused(step: Callable[[], object]) -> None:
    """The step raises a StoreError."""
    try:
        step()
    except StoreError:
        return
    raise AssertionError("a StoreError was expected")


def _run_all(store: Store, worker_id: str, running: list[str | None]) -> list[str]:
    """Claim and end jobs until there are none; the keys of those claimed are in `running` as long as they run."""
    done: list[str] = []
    while store.counts().get(("default", State.READY)):
        for job in claim(store, 3, worker_id=worker_id):
            assert job.concurrency_key is None or job.concurrency_key not in running
            running.append(job.concurrency_key)
            done.append(job.id)
            running.remove(job.concurrency_key)
            assert finish(store, job, Outcome.succeeded("1")) == {job.claim}
    return done


def _claim_all(store: Store, worker_id: str) -> list[str]:
    claimed: list[str] = []
    while jobs := claim(store, 3, worker_id=worker_id):
        claimed += ids_of(jobs)
    return claimed


def _move_and_send(store: Store) -> bool:
    """What a worker does at a tick."""
    job = make_job()
    with store.transaction():
        if not store.move_schedule("a", NOW_US, NOW_US + 1, job.id):
            return False
        store.enqueue([job])
    return True


@contextmanager
def _later(step: Callable[[], object]) -> Iterator[None]:
    """Do a step in another thread, once that thread runs."""
    thread = threading.Thread(target=step)
    thread.start()
    try:
        yield
    finally:
        thread.join()
