"""The store in this process's memory: small, real, and gone with the process. For tests and try-outs."""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any
from weakref import WeakSet

import msgspec

from treadle.clock import US_PER_S
from treadle.errors import StoreError
from treadle.job import Attempt, Claim, Ending, Job, Kind, Message, Progress, Report
from treadle.states import NOT_STARTED, REDRIVEN, State
from treadle.store import keys
from treadle.store.contract import (
    Enqueued,
    Forgotten,
    Part,
    Query,
    ScheduleRow,
    Store,
    Wakeup,
    WorkerRow,
    failure_of_expired,
    failure_of_whole,
)
from treadle.store.wakeup import LocalWakeup


class _Tables(msgspec.Struct):
    """Everything kept; the rows in it are frozen, so a shallow copy is a snapshot."""

    jobs: dict[str, Job] = {}
    attempts: dict[str, tuple[Attempt, ...]] = {}
    messages: dict[str, tuple[Message, ...]] = {}
    workers: dict[str, WorkerRow] = {}
    schedules: dict[str, ScheduleRow] = {}
    paused: dict[str, int] = {}
    item_s: dict[str, float] = {}

    def snapshot(self) -> "_Tables":
        return _Tables(*(dict(getattr(self, name)) for name in self.__struct_fields__))


class MemoryStore(Store):
    """Jobs in dictionaries, behind one lock."""

    def __init__(self) -> None:
        self._tables = _Tables()
        self._lock = threading.RLock()
        self._depth = 0
        self._secret = secrets.token_urlsafe(32)
        self._waiters: WeakSet[LocalWakeup] = WeakSet()

    def prepare(self) -> None:
        pass

    def close(self) -> None:
        pass

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            before = self._tables.snapshot()
            self._depth += 1
            try:
                yield
            except BaseException:
                self._tables = before
                raise
            finally:
                self._depth -= 1
        for waiter in tuple(self._waiters):
            waiter.wake()

    def is_in_transaction(self) -> bool:
        # Another thread that is inside holds the lock, so what is seen with it is this thread's own.
        with self._lock:
            return self._depth > 0

    def wakeup(self) -> Wakeup:
        waiter = LocalWakeup()
        self._waiters.add(waiter)
        return waiter

    def secret(self) -> str:
        return self._secret

    def __str__(self) -> str:
        return "this process's memory"

    # Sending and reading

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        unique, others = keys.split_unique(jobs)
        with self.transaction():
            done = self._keep_unique(unique)
            stand_ins = keys.with_parts(done.stand_ins, others)
            for job in others:
                if job.id not in stand_ins:
                    self._keep(job)
        return Enqueued(stand_ins, done.expired)

    def _keep_unique(self, jobs: Sequence[Job]) -> Enqueued:
        stand_ins: dict[str, Job] = {}
        expired: list[str] = []
        for job in jobs:
            twin = self.unfinished(job.task, job.unique_key or "")
            if twin is not None and twin.has_expired(job.enqueued_at_us):
                self._expire([twin], job.enqueued_at_us)
                expired.append(twin.id)
                twin = None
            if twin is None:
                self._keep(job)
            else:
                stand_ins[job.id] = twin
        return Enqueued(stand_ins, tuple(expired))

    def _keep(self, job: Job) -> None:
        if job.id in self._tables.jobs:
            raise StoreError(f"there is a job with the id {job.id!r} already")
        start = Progress(0, job.size) if job.kind is Kind.WHOLE else Progress()
        self._tables.jobs[job.id] = msgspec.structs.replace(job, version=1, progress=start)

    def cancel(self, ids: Sequence[str], now_us: int) -> set[str]:
        with self.transaction():
            wanted = self._all(lambda job: job.id in ids and not job.state.is_finished)
            for job in wanted:
                self._cancel(job.id, now_us)
                for part in self._parts(job.id) if job.state in NOT_STARTED else ():
                    self._cancel(part.id, now_us)
            # Only now: a whole that is given together with its last part is cancelled, and does not fail.
            for job in wanted:
                self._unblock(job.group_id, now_us)
        return {job.id for job in wanted}

    def _cancel(self, job_id: str, now_us: int) -> None:
        job = self._tables.jobs[job_id]
        if job.state in NOT_STARTED:
            self._change(job, state=State.CANCELLED, finished_at_us=now_us)
        elif job.state is State.RUNNING and job.cancel_requested_at_us is None:
            self._change(job, cancel_requested_at_us=now_us)

    def redrive(self, ids: Sequence[str], now_us: int) -> set[str]:
        with self.transaction():
            sent = [job for job in map(self._tables.jobs.get, sorted(set(ids))) if job and self._redrive(job, now_us)]
        return {job.id for job in sent}

    def _redrive(self, job: Job, now_us: int) -> bool:
        parts = self._parts(job.id)
        bad = [part for part in parts if part.state in REDRIVEN]
        usable = [part for part in parts if not part.is_forgotten and (part in bad or part.result is not None)]
        size = sum(part.size for part in usable)
        is_whole = job.kind is not Kind.WHOLE or size == job.size
        is_held = job.unique_key is not None and self.unfinished(job.task, job.unique_key) is not None
        is_alone = job.group_id is None and not job.is_forgotten
        if job.state not in REDRIVEN or not is_alone or not is_whole or is_held:
            return False
        for each in (*bad, job):
            self._change(
                each,
                state=State.BLOCKED if each is job and bad else State.READY,
                run_at_us=now_us,
                max_attempts=max(each.max_attempts, each.attempt + 1),
                crashes=0,
                started_at_us=None,
                finished_at_us=None,
                cancel_requested_at_us=None,
                expires_at_us=None,
                redriven_at_us=now_us,
                failure=None,
                progress=Progress(),
            )
        if job.kind is Kind.WHOLE:
            done = sum(part.size for part in parts if part not in bad)
            self._change(self._tables.jobs[job.id], progress=Progress(done, job.size))
        return True

    def unfinished(self, task: str, unique_key: str) -> Job | None:
        def has_key(job: Job) -> bool:
            return (job.task, job.unique_key) == (task, unique_key) and not job.state.is_finished

        return next(iter(self._all(has_key)), None)

    def cancel_requests(self, worker_id: str) -> list[Claim]:
        def is_wanted(job: Job) -> bool:
            return job.state is State.RUNNING and job.worker_id == worker_id and job.cancel_requested_at_us is not None

        return [job.claim for job in self._all(is_wanted)]

    def jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        with self._lock:
            return {id_: self._tables.jobs[id_] for id_ in ids if id_ in self._tables.jobs}

    def find(self, query: Query) -> list[Job]:
        def fits(job: Job) -> bool:
            return (
                query.state in (None, job.state)
                and query.task in (None, job.task)
                and query.queue in (None, job.queue)
                and query.labels.items() <= job.labels.items()
            )

        found = sorted(self._all(fits), key=lambda job: (job.enqueued_at_us, job.id), reverse=query.newest_first)
        return found[: query.limit]

    def attempts(self, ids: Sequence[str]) -> dict[str, list[Attempt]]:
        with self._lock:
            return {id_: list(self._tables.attempts[id_]) for id_ in ids if id_ in self._tables.attempts}

    def messages(self, job_id: str, after: int = 0) -> list[Message]:
        with self._lock:
            return [m for m in self._tables.messages.get(job_id, ()) if m.number > after]

    def part_results(self, whole_ids: Sequence[str]) -> dict[str, list[str]]:
        results: dict[str, list[str]] = {id_: [] for id_ in whole_ids}
        for part in sorted(self._all(lambda job: job.group_id in results), key=lambda job: job.part):
            if part.result is not None:
                results[part.group_id or ""].append(part.result)
        return results

    def parts(self, whole_id: str) -> list[Part]:
        parts = sorted(self._parts(whole_id), key=lambda job: job.part)
        return [Part(job.state, job.size, job.started_at_us, job.finished_at_us) for job in parts]

    def item_s(self, task: str) -> float | None:
        with self._lock:
            return self._tables.item_s.get(task)

    def counts(self) -> dict[tuple[str, State], int]:
        counts: dict[tuple[str, State], int] = {}
        for job in self._all(lambda job: True):
            counts[job.queue, job.state] = counts.get((job.queue, job.state), 0) + 1
        return counts

    # Working

    def claim(
        self, worker_id: str, limit: int, now_us: int, *, pool: str, queues: Sequence[str] = (), starts: bool
    ) -> list[Job]:
        def urgency(job: Job) -> tuple[int, int, int, str]:
            return (queues.index(job.queue) if queues else 0, -job.priority, job.run_at_us, job.id)

        def may_run(job: Job) -> bool:
            is_wanted = job.pool == pool and (not queues or job.queue in queues)
            is_wanted = is_wanted and worker_id in self._tables.workers and job.queue not in self._tables.paused
            is_wanted = is_wanted and not job.has_expired(now_us)
            return job.state is State.READY and is_wanted

        with self.transaction():
            ready = sorted(self._all(may_run), key=urgency)
            return [
                self._change(
                    job,
                    state=State.RUNNING,
                    token=job.token + 1,
                    attempt=job.attempt + 1,
                    worker_id=worker_id,
                    started_at_us=now_us if starts else None,
                )
                for job in islice(self._in_turn(ready, starts=starts), max(limit, 0))
            ]

    def _in_turn(self, jobs: Sequence[Job], *, starts: bool) -> Iterator[Job]:
        """Those that may run at once beside what runs; without `starts` those before the first that must not wait."""
        taken = {job.concurrency_key for job in self._all(lambda job: job.state is State.RUNNING)} - {None}
        for job in jobs:
            if job.concurrency_key in taken:
                continue
            if not starts and (job.concurrency_key is not None or job.max_crashes == 0):
                return
            taken |= {job.concurrency_key} - {None}
            yield job

    def mark_started(self, claims: Sequence[tuple[Claim, int]]) -> None:
        with self.transaction():
            for claim, started_at_us in claims:
                for job in self._held(claim):
                    self._change(job, started_at_us=started_at_us)

    def report(self, reports: Sequence[Report], now_us: int) -> None:
        with self.transaction():
            for report in reports:
                for job in self._tellers(report.claim):
                    kept = self._tables.messages.get(job.id, ())
                    new = [
                        Message(len(kept) + index, sent_at_us, msgspec.json.decode(body))
                        for index, (sent_at_us, body) in enumerate(report.messages, start=1)
                    ]
                    self._tables.messages[job.id] = (*kept, *new)
                    self._change(job, progress=report.progress or job.progress)

    def _tellers(self, claim: Claim) -> list[Job]:
        """The job whose run may tell of itself: it holds it, or has made it succeed."""
        may_tell = (State.RUNNING, State.SUCCEEDED)
        return self._all(lambda job: job.claim == claim and job.state in may_tell and not job.is_forgotten)

    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        accepted = set()
        with self.transaction():
            for ending in endings:
                for job in self._held(ending.job.claim):
                    accepted.add(job.claim)
                    self._finish(job, ending)
        return accepted

    def _finish(self, job: Job, ending: Ending) -> None:
        if job.cancel_requested_at_us is not None:
            ending = ending.or_cancelled()
        started_at_us = ending.job.started_at_us
        self._tables.attempts[job.id] = (
            *self._tables.attempts.get(job.id, ()),
            Attempt(
                job.attempt, job.worker_id or "", started_at_us, ending.ended_at_us,
                ending.outcome.kind, ending.outcome.failure,
            ),
        )  # fmt: skip
        ended = self._change(
            job,
            state=ending.state,
            run_at_us=ending.run_at_us,
            attempt=ending.attempt,
            crashes=ending.crashes,
            worker_id=None,
            started_at_us=started_at_us if ending.state.is_finished else None,
            finished_at_us=ending.finished_at_us,
            result=ending.outcome.result if ending.state is State.SUCCEEDED else None,
            failure=ending.failure,
        )
        whole = self._tables.jobs.get(ended.group_id or "")
        if whole is not None and ended.state is State.SUCCEEDED:
            done = whole.progress.done + ended.size
            self._change(whole, progress=msgspec.structs.replace(whole.progress, done=done))
        self._unblock(ended.group_id, ending.ended_at_us)

    def _unblock(self, whole_id: str | None, now_us: int) -> None:
        whole = self._tables.jobs.get(whole_id or "")
        parts = self._parts(whole_id)
        if whole is None or whole.state is not State.BLOCKED or any(not part.state.is_finished for part in parts):
            return
        bad = {part.part: part.failure for part in parts if part.state is not State.SUCCEEDED}
        if bad:
            self._change(whole, state=State.FAILED, finished_at_us=now_us, failure=failure_of_whole(bad))
        else:
            self._change(whole, state=State.READY, run_at_us=now_us)
            self._measure(parts)

    def _measure(self, parts: list[Job]) -> None:
        """How long an item of these parts took."""
        runs = [(p, p.finished_at_us - p.started_at_us) for p in parts if p.finished_at_us and p.started_at_us]
        if runs:
            took_s = sum(run_us for _, run_us in runs) / US_PER_S
            self._tables.item_s[parts[0].task] = took_s / sum(part.size for part, _ in runs)

    def release(self, claims: Sequence[Claim], now_us: int) -> None:
        with self.transaction():
            for claim in claims:
                for job in self._held(claim):
                    is_wanted = job.cancel_requested_at_us is None
                    self._change(
                        job,
                        state=State.READY if is_wanted else State.CANCELLED,
                        finished_at_us=None if is_wanted else now_us,
                        attempt=job.attempt - 1,
                        worker_id=None,
                        started_at_us=None,
                    )
                    self._unblock(job.group_id, now_us)

    # Keeping

    def register(self, worker: WorkerRow) -> None:
        with self.transaction():
            self._tables.workers[worker.id] = worker

    def heartbeat(self, worker_id: str, now_us: int, lease_until_us: int) -> bool:
        with self.transaction():
            worker = self._tables.workers.get(worker_id)
            if worker is not None:
                alive = msgspec.structs.replace(worker, last_seen_at_us=now_us, lease_until_us=lease_until_us)
                self._tables.workers[worker_id] = alive
            return worker is not None

    def deregister(self, worker_ids: Sequence[str]) -> None:
        with self.transaction():
            busy = {job.worker_id for job in self._all(lambda job: job.state is State.RUNNING)}
            for worker_id in set(worker_ids) - busy:
                self._tables.workers.pop(worker_id, None)

    def workers(self) -> list[WorkerRow]:
        with self._lock:
            return sorted(self._tables.workers.values(), key=lambda worker: (worker.started_at_us, worker.id))

    def rescue(self, worker_ids: Sequence[str], now_us: int) -> list[Ending]:
        with self.transaction():
            held = self._all(lambda job: job.state is State.RUNNING and job.worker_id in worker_ids)
            self.release([job.claim for job in held if job.started_at_us is None], now_us)
            endings = [Ending.of_lost_worker(job, now_us) for job in held if job.started_at_us is not None]
            self.finish(endings)
            self.deregister(worker_ids)
        return endings

    def promote(self, now_us: int, limit: int) -> int:
        with self.transaction():
            due = self._all(lambda job: job.state is State.SCHEDULED and job.run_at_us <= now_us)
            due = sorted(due, key=lambda job: job.run_at_us)[:limit]
            for job in due:
                self._change(job, state=State.READY)
            return len(due)

    def schedules(self) -> list[ScheduleRow]:
        with self._lock:
            return sorted(self._tables.schedules.values(), key=lambda schedule: schedule.name)

    def keep_schedules(self, schedules: Sequence[ScheduleRow]) -> None:
        with self.transaction():
            for new in schedules:
                old = self._tables.schedules.get(new.name, new)
                is_same = (old.cron, old.timezone) == (new.cron, new.timezone)
                seen_at_us = old.seen_at_us if is_same else max(old.seen_at_us, new.seen_at_us)
                kept = msgspec.structs.replace(new, seen_at_us=seen_at_us, last_job_id=old.last_job_id)
                self._tables.schedules[new.name] = kept

    def move_schedule(self, name: str, seen_at_us: int, to_us: int, job_id: str | None = None) -> bool:
        with self.transaction():
            old = self._tables.schedules.get(name)
            if old is None or old.seen_at_us != seen_at_us:
                return False
            moved = msgspec.structs.replace(old, seen_at_us=to_us, last_job_id=job_id or old.last_job_id)
            self._tables.schedules[name] = moved
            return True

    def forget_schedules(self, names: Sequence[str]) -> None:
        with self.transaction():
            for name in names:
                self._tables.schedules.pop(name, None)

    def expire(self, now_us: int, limit: int) -> list[str]:
        with self.transaction():
            late = self._all(lambda job: job.has_expired(now_us))
            late = sorted(late, key=lambda job: (job.expires_at_us or 0, job.id))[:limit]
            self._expire(late, now_us)
            return [job.id for job in late]

    def _expire(self, late: Sequence[Job], now_us: int) -> None:
        for job in late:
            failure = failure_of_expired(job.expires_at_us or 0)
            self._change(job, state=State.FAILED, finished_at_us=now_us, failure=failure)
        for part in [part for job in late for part in self._parts(job.id)]:
            self._cancel(part.id, now_us)
        for job in late:
            self._unblock(job.group_id, now_us)

    def forget_results(self, now_us: int, limit: int) -> int:
        def is_old(job: Job) -> bool:
            is_kept_on = job.result is None or job.result_ttl_us is None or job.group_id is not None
            return not is_kept_on and (job.finished_at_us or 0) + (job.result_ttl_us or 0) <= now_us

        with self.transaction():
            old = sorted(self._all(is_old), key=lambda job: (job.finished_at_us or 0) + (job.result_ttl_us or 0))[
                :limit
            ]
            for job in [each for whole in old for each in (whole, *self._parts(whole.id))]:
                if job.result is not None:
                    self._change(job, result=None)
            return len(old)

    def labelled(self, labels: Mapping[str, str], limit: int, after: str = "") -> tuple[list[str], str | None]:
        page = sorted(self._all(lambda job: job.id > after), key=lambda job: job.id)[:limit]
        found = [job.id for job in page if labels.items() <= job.labels.items()]
        return found, page[-1].id if page else None

    def forget(self, ids: Sequence[str]) -> Forgotten:
        with self.transaction():
            wanted = self._all(lambda job: job.id in ids and not job.is_forgotten)
            ended = [job for job in wanted if job.state.is_finished and not self._is_needed(job)]
            for job in ended:
                self._forget(job)
            return Forgotten(len(ended), len(wanted) - len(ended))

    def _forget(self, job: Job) -> None:
        self._change(
            job,
            payload="",
            result=None,
            failure=job.failure and job.failure.forgotten(),
            unique_key=None,
            concurrency_key=None,
            progress=msgspec.structs.replace(job.progress, message=""),
        )
        self._tables.messages.pop(job.id, None)
        attempts = self._tables.attempts.get(job.id, ())
        self._tables.attempts[job.id] = tuple(
            msgspec.structs.replace(attempt, failure=attempt.failure and attempt.failure.forgotten())
            for attempt in attempts
        )

    def _is_needed(self, job: Job) -> bool:
        """Whether a job is a part of a whole that has not ended."""
        whole = self._tables.jobs.get(job.group_id or "")
        return whole is not None and not whole.state.is_finished

    def pause(self, queues: Sequence[str], now_us: int) -> set[str]:
        with self.transaction():
            new = set(queues) - self._tables.paused.keys()
            self._tables.paused |= dict.fromkeys(new, now_us)
            return new

    def resume(self, queues: Sequence[str]) -> set[str]:
        with self.transaction():
            return {queue for queue in set(queues) if self._tables.paused.pop(queue, None) is not None}

    def paused_queues(self) -> dict[str, int]:
        with self._lock:
            return dict(self._tables.paused)

    def prune(self, succeeded_before_us: int, failed_before_us: int, limit: int) -> int:
        def is_old(job: Job) -> bool:
            before_us = succeeded_before_us if job.state is State.SUCCEEDED else failed_before_us
            return job.finished_at_us is not None and job.finished_at_us < before_us and not self._is_needed(job)

        with self.transaction():
            old = sorted(self._all(is_old), key=lambda job: job.finished_at_us or 0)[:limit]
            for job in old:
                for table in (self._tables.jobs, self._tables.attempts, self._tables.messages):
                    table.pop(job.id, None)
            return len(old)

    def upkeep(self) -> None:
        pass

    def _parts(self, whole_id: str | None) -> list[Job]:
        return self._all(lambda job: job.group_id == whole_id)

    def _all(self, fits: Callable[[Job], bool]) -> list[Job]:
        with self._lock:
            return [job for job in self._tables.jobs.values() if fits(job)]

    def _held(self, claim: Claim) -> list[Job]:
        """The job of a claim that still holds; else nothing."""
        job = self._tables.jobs.get(claim.id)
        return [job] if job is not None and job.state is State.RUNNING and job.token == claim.token else []

    def _change(self, job: Job, **fields: Any) -> Job:
        changed = msgspec.structs.replace(job, version=job.version + 1, **fields)
        self._tables.jobs[job.id] = changed
        return changed
