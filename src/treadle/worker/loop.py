"""The worker: claims jobs as places become free, has them run, and commits how they ended.

One thread, the loop, talks to the store; pools call back from threads of their own and only leave news
with the committer. So one commit writes the ends of all runs since the last one and claims their
successors: the busier the worker, the larger the batch.
"""

import contextlib
import os
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import wait

import msgspec

from treadle.clock import US_PER_S, Clock
from treadle.errors import StoreError
from treadle.events import (
    Event,
    WorkerDraining,
    WorkerQuiet,
    WorkerStarted,
    WorkerStopped,
)
from treadle.job import Job, Kind
from treadle.pools import current
from treadle.settings import Settings
from treadle.states import State
from treadle.store.contract import Query, Store, WorkerRow
from treadle.worker.alive import AliveFolder, HeldLock
from treadle.worker.committer import Committer
from treadle.worker.execution import Runner, Work, whole_payload
from treadle.worker.flights import Flights
from treadle.worker.outage import Outage, Pauses
from treadle.worker.places import Place, Rate
from treadle.worker.standing import Standing, duty_of
from treadle.worker.stuck import StuckWatch
from treadle.worker.upkeep import Duty, Upkeep

LOOK_EVERY_S = 1.0
"""How often to look for jobs although nothing told of one: the net under a lost wake-up."""
GIVE_BACK_AFTER_S = 0.2
"""A prefetched job that waits longer goes back to the store, where another worker may take it."""
DRAIN_LOOK_EVERY_S = 0.1
CANCEL_EVERY_S = 0.25
"""How often to look for cancels of what runs. A duty beside the loop: a look at each turn would cost every
commit a statement, and none would see it while the worker drains or is busy."""
EVERY_RUNNING_JOB = 1_000_000


class Worker:
    """One worker. `run` returns after `stop`, when nothing of it runs any more."""

    def __init__(
        self,
        *,
        store: Store,
        runner: Runner,
        settings: Settings,
        make_places: Callable[[tuple[int, ...]], list[Place]],
        alive: AliveFolder | None,
        announce: Callable[[Event], None],
        clock: Clock,
        kind: str = "process",
        queues: tuple[str, ...] = (),
        claims_per_s: int | None = None,
        duties: tuple[Duty, ...] = (),
        drain_s: float | None = None,
    ) -> None:
        """`make_places` is given the descriptors that child processes must hold.

        `claims_per_s` bounds what is claimed, `duties` are done beside the worker's own, `drain_s` is
        that of the settings where None.
        """
        self.id = f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._store = store
        self._settings = settings
        self._make_places = make_places
        self._alive = alive
        self._announce = announce
        self._clock = clock
        self._kind = kind
        self._queues = queues or settings.queues
        self._duties = duties
        self._drain_s = settings.drain_s if drain_s is None else drain_s
        self._committer = Committer(store, clock, self.id, settings.unknown_task_s, announce)
        self._rate = Rate(claims_per_s, clock)
        self._places: dict[str, Place] = {}
        self._claimed: deque[Job] = deque()
        # Plain flags: a signal handler sets them, and must not meet a lock that its own thread holds.
        self._is_quiet = False
        self._is_stopping = False
        self._is_urgent = False
        self._is_leaving = False
        self._outage = Outage(self.id, clock, announce)
        self._pauses = Pauses(lambda: (self._is_quiet, self._is_stopping, self._is_urgent, self._is_leaving))
        self._is_unsure = False
        self._fatal: BaseException | None = None
        self._lock: HeldLock | None = None
        self._upkeep: Upkeep | None = None
        self._wakeup = store.wakeup()
        self._flights = Flights(
            self.id, self._places, runner, self._committer, clock, announce,
            wake=self._wakeup.wake, on_broken=self._stop_for,
        )  # fmt: skip

    def run(self) -> None:
        """Work until `stop` is called.

        Raises PoolBroken where child processes cannot be started, and StoreError inside a transaction.
        """
        if self._store.is_in_transaction():
            raise StoreError(
                "a worker cannot run inside a transaction: nobody would see what it does, and it would wait for itself"
            )
        current.loop_threads.add(threading.get_ident())
        try:
            self._run()
        finally:
            current.loop_threads.discard(threading.get_ident())

    def _run(self) -> None:
        try:
            self._begin()
            self._warm_up()
            self._work()
            self._keep_quiet()
            self._drain()
        except BaseException:
            self._abandon()
            raise
        self._leave() if self._is_settled else self._abandon()
        if self._fatal is not None:
            raise self._fatal

    def quiet(self) -> None:
        """Claim no more; what runs goes on, and so does `run`, until `stop`."""
        self._is_quiet = True
        self._wakeup.wake()

    def stop(self, *, at_once: bool = False) -> None:
        """Claim no more, wait for what runs, then return from `run`; `at_once`: interrupt it instead."""
        self._is_urgent = self._is_urgent or at_once
        self._is_stopping = True
        self._wakeup.wake()

    def leave(self) -> None:
        """Interrupt what runs, and do not wait for a store that is away: others rescue what it was not told."""
        self._is_leaving = True
        self.stop(at_once=True)

    def _stop_for(self, error: BaseException) -> None:
        """Stop, and raise this at the end: what runs may end, and nothing more could."""
        self._fatal = error
        self._is_stopping = True

    # The life of a worker

    def _begin(self) -> None:
        if self._alive is not None:
            self._lock = self._alive.claim(self.id)
        fds = (self._lock.fd,) if self._lock else ()
        self._places.update({place.name: place for place in self._make_places(fds)})
        row = self._row()
        duties = self._own_duties()
        self._upkeep = Upkeep(
            row, self._store, self._alive, self._settings, self._clock, self._announce, duties,
            outage=self._outage, on_lease_lost=self._end_void,
        )  # fmt: skip
        while not self._try(lambda: self._store.register(row)) and not self._is_stopping:
            self._pauses.wait()
        self._upkeep.start()
        self._announce(WorkerStarted(self.id, self._kind, {p.name: p.slots for p in self._places.values()}))

    def _own_duties(self) -> tuple[Duty, ...]:
        places = tuple(self._places.values())
        watch = StuckWatch(places, self._settings.stuck_after_s, self._clock, self._announce, self.id)
        saying = (duty_of(self._lock, self._standing),) if self._lock is not None else ()
        return Duty("cancel", CANCEL_EVERY_S, self._end_cancelled), watch.duty(), *saying, *self._duties

    def _standing(self) -> Standing:
        places = self._places.values()
        return Standing(
            doing="stopping" if self._is_stopping else "quiet" if self._is_quiet else "working",
            slots={place.name: place.slots for place in places},
            running=len(self._flights),
            stuck=sum(place.stuck for place in places),
        )

    def _warm_up(self) -> None:
        """Start a child before the first claim: what keeps it from starting must not cost a job."""
        processes = self._places.get("processes")
        if processes is not None and not self._is_stopping:
            started = processes.pool.call(os.getpid)
            while not self._is_stopping and not wait([started], LOOK_EVERY_S).done:
                pass
            if started.done():
                started.result()

    def _row(self) -> WorkerRow:
        now_us = self._clock.now_us()
        return WorkerRow(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            kind=self._kind,
            started_at_us=now_us,
            last_seen_at_us=now_us,
            lease_until_us=now_us + round(self._settings.lease_s * US_PER_S),
            queues=self._queues,
        )

    def _work(self) -> None:
        while not (self._is_quiet or self._is_stopping):
            if self._try(self._turn):
                self._wakeup.wait(self._patience_s())
            else:
                self._pauses.wait()

    def _turn(self) -> None:
        if self._is_unsure:
            self._give_back_unknown()
        self._claimed += self._exchange()
        self._start_claimed()
        self._flights.give_back(GIVE_BACK_AFTER_S)

    def _keep_quiet(self) -> None:
        """Let what runs go on and claim no more, until somebody stops the worker."""
        if self._is_stopping:
            return
        self._announce(WorkerQuiet(self.id, len(self._flights)))
        self._release_waiting()
        while not self._is_stopping:
            self._let_run_on(LOOK_EVERY_S)

    def _drain(self) -> None:
        """Wait for what runs, as long as the settings say; then interrupt it."""
        self._announce(WorkerDraining(self.id, len(self._flights)))
        self._release_waiting()
        deadline_s = self._clock.monotonic_s() + self._drain_s
        while self._flights and not self._is_urgent and (self._must_wait or self._clock.monotonic_s() < deadline_s):
            self._let_run_on(DRAIN_LOOK_EVERY_S)
        self._flights.interrupt()
        self._deliver()

    def _release_waiting(self) -> None:
        self._flights.give_back(0)
        while self._claimed:
            self._committer.add_release(self._claimed.popleft())

    def _let_run_on(self, look_every_s: float) -> None:
        if self._try(self._flush):
            due_s = self._committer.due_in_s()
            self._wakeup.wait(look_every_s if due_s is None else min(due_s, look_every_s))
        else:
            self._pauses.wait()

    def _deliver(self) -> None:
        """Tell the store how everything ended; one that is away is waited for as long as the settings say."""
        deadline_s = self._clock.monotonic_s() + self._settings.deliver_s
        while not self._try(self._flush) and not self._is_leaving and self._clock.monotonic_s() < deadline_s:
            self._pauses.wait()

    def _leave(self) -> None:
        """Nothing runs any more, and the store knows it."""
        self._stop_parts()
        with contextlib.suppress(StoreError):
            self._store.deregister([self.id])
        if self._lock is not None:
            self._lock.release()
        self._announce(WorkerStopped(self.id))

    def _abandon(self) -> None:
        """An error of our own has ended the run: kill what runs, and leave the jobs to be rescued by another."""
        if self._is_settled:
            self._leave()
            return
        self._flights.kill()
        self._stop_parts()
        if self._lock is not None:
            self._lock.release(remove=False)
        self._announce(WorkerStopped(self.id))

    def _stop_parts(self) -> None:
        if self._upkeep is not None:
            self._upkeep.stop()
        for place in self._places.values():
            place.shutdown()
        self._wakeup.close()

    def _try(self, step: Callable[[], None]) -> bool:
        """Do a step that needs the store; False where that is away."""
        try:
            with self._outage.watching("loop"):
                step()
        except StoreError:
            # The connection may have been lost just after a commit.
            self._is_unsure = True
            return False
        self._pauses.reset()
        return True

    def _give_back_unknown(self) -> None:
        """Release what the store says is ours and we were never told of: a claim's answer was lost on the way."""
        held = self._flights.claims | {job.claim for job in self._claimed}
        # Whatever else we knew of before has ended, and is written now.
        self._flush()
        running = self._store.find(Query(state=State.RUNNING, limit=EVERY_RUNNING_JOB))
        unknown = [job.claim for job in running if job.worker_id == self.id and job.claim not in held]
        if unknown:
            self._store.release(unknown, self._clock.now_us())
        self._is_unsure = False

    # One turn

    def _exchange(self) -> list[Job]:
        """Write all news and claim what fits, in one commit where there is both."""
        if self._news_due_in_s != 0:
            return self._claim()
        with self._committer.written():
            return self._claim()

    def _flush(self) -> None:
        if self._committer.due_in_s() is not None:
            with self._committer.written():
                pass

    def _claim(self) -> list[Job]:
        if self._claimed:
            return []  # Those of last time could not be started yet.
        claimed: list[Job] = []
        try:
            for place in self._places.values():
                free = place.free
                jobs = self._claim_for(place, free, starts=True)
                claimed += jobs
                if len(jobs) == free:
                    # All slots are taken: what is claimed beyond them waits in the pool.
                    claimed += self._claim_for(place, place.prefetch - free, starts=False)
        except StoreError:
            # What is claimed already must be run by somebody: by us; unless the claims go back with the rest.
            if not claimed or self._store.is_in_transaction():
                raise
        return claimed

    def _claim_for(self, place: Place, wanted: int, *, starts: bool) -> list[Job]:
        limit = min(wanted, self._rate.allowance)
        if limit <= 0:
            return []
        now_us = self._clock.now_us()
        jobs = self._store.claim(self.id, limit, now_us, pool=place.name, queues=self._queues, starts=starts)
        self._rate.spend(len(jobs))
        return jobs

    def _start_claimed(self) -> None:
        while self._claimed:
            # Looked at before it is taken off: if the store fails now, the job is started next time.
            work = self._work_of(self._claimed[0])
            self._claimed.popleft()
            self._flights.start(work)

    def _work_of(self, job: Job) -> Work:
        """What the run is given beside the row: it cannot look into the store itself."""
        if job.kind is Kind.WHOLE:
            results = self._store.part_results([job.id])[job.id]
            job = msgspec.structs.replace(job, payload=whole_payload(results))
        earlier = self._store.attempts([job.id]).get(job.id, []) if job.token > 1 else []
        return Work(job, tuple(earlier))

    def _end_cancelled(self) -> None:
        """End the runs that somebody has asked to cancel."""
        for claim in self._store.cancel_requests(self.id) if self._flights else ():
            self._flights.cancel(claim)

    def _end_void(self) -> None:
        """End the runs that others have taken back from us."""
        self._flights.cancel_void(self._store.jobs)

    @property
    def _must_wait(self) -> bool:
        """Whether something runs that cannot be killed, in a process that will live on: nobody may run it beside."""
        return self._kind == "embedded" and self._flights.any_in_process

    @property
    def _is_settled(self) -> bool:
        """Whether nothing is held that the store does not know of."""
        return not self._flights and not self._claimed and self._committer.due_in_s() is None

    def _patience_s(self) -> float:
        due_s = self._news_due_in_s
        look_s = GIVE_BACK_AFTER_S if self._is_any_waiting else LOOK_EVERY_S
        return min(look_s if due_s is None else due_s, self._rate.refilled_in_s)

    @property
    def _news_due_in_s(self) -> float | None:
        return self._committer.due_in_s(may_wait=self._is_any_waiting)

    @property
    def _is_any_waiting(self) -> bool:
        return any(place.has_waiting for place in self._places.values())
