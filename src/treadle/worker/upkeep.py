"""What a worker does again and again beside running jobs, in one thread: its duties.

Each duty is idempotent, so any number of workers may do the same.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from treadle.clock import US_PER_S, Clock
from treadle.errors import StoreError
from treadle.events import DutyFailed, Event, JobsExpired, JobsRescued, LeaseLost
from treadle.settings import Settings
from treadle.store.contract import Store, WorkerRow
from treadle.worker.alive import AliveFolder, Silences
from treadle.worker.outage import Outage

PROMOTE_EVERY_S = 0.25
PROMOTE_AT_ONCE = 1000
RESCUE_EVERY_S = 0.5
STORE_UPKEEP_EVERY_S = 1.0
EXPIRE_EVERY_S = 1.0
EXPIRE_AT_ONCE = 1000
FORGET_EVERY_S = 10.0
FORGET_AT_ONCE = 1000
PRUNE_EVERY_S = 60.0
PRUNE_AT_ONCE = 1000
TOGETHER_S = 0.05
"""A duty that is due so soon is done with the others: to wake up costs an idle worker more than what it does then."""
AWAY_EVERY_S = 2.0
"""How often to try a duty while the store is away: also one that comes seldom, or what is told of the store would be late."""


class Duty(NamedTuple):
    """Something to do every so often."""

    name: str
    every_s: float
    do: Callable[[], object]


class Upkeep:
    """The duties of one worker."""

    def __init__(
        self,
        worker: WorkerRow,
        store: Store,
        alive: AliveFolder | None,
        settings: Settings,
        clock: Clock,
        announce: Callable[[Event], None],
        also: tuple[Duty, ...] = (),
        *,
        outage: Outage | None = None,
        on_lease_lost: Callable[[], object] = lambda: None,
    ) -> None:
        self._worker = worker
        self._store = store
        self._alive = alive
        self._settings = settings
        self._clock = clock
        self._announce = announce
        self._outage = outage or Outage(worker.id, clock, announce)
        self._on_lease_lost = on_lease_lost
        self._told: dict[str, str] = {}
        self._next_beat_s = clock.monotonic_s() + settings.heartbeat_s
        self._silences = Silences(clock)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._duties = (
            Duty("heartbeat", settings.heartbeat_s, self.heartbeat),
            Duty("promote", PROMOTE_EVERY_S, self.promote),
            Duty("expire", EXPIRE_EVERY_S, self.expire),
            Duty("rescue", RESCUE_EVERY_S, self.rescue),
            Duty("store upkeep", STORE_UPKEEP_EVERY_S, store.upkeep),
            Duty("forget results", FORGET_EVERY_S, self.forget_results),
            Duty("prune", PRUNE_EVERY_S, self.prune),
            *also,
        )

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="treadle-upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        due_s = {duty: self._clock.monotonic_s() for duty in self._duties}
        while not self._stopped.is_set():
            for duty in self._duties:
                if due_s[duty] <= self._clock.monotonic_s() + TOGETHER_S:
                    is_done = self._do(duty)
                    pause_s = duty.every_s if is_done else AWAY_EVERY_S
                    due_s[duty] = self._clock.monotonic_s() + pause_s
            self._stopped.wait(max(0.0, min(due_s.values()) - self._clock.monotonic_s()))

    def _do(self, duty: Duty) -> bool:
        """Returns whether the store was there for it."""
        try:
            with self._outage.watching(duty.name):
                duty.do()
        except StoreError:
            return False
        except Exception as error:
            # The duty comes round again; the others must not wait for it.
            self._tell_once(duty, error)
        else:
            self._told.pop(duty.name, None)
        return True

    def _tell_once(self, duty: Duty, error: Exception) -> None:
        """A duty that fails in the same way each time is one fact."""
        told = repr(error)
        if self._told.get(duty.name) != told:
            self._told[duty.name] = told
            self._announce(DutyFailed(duty.name, error))

    def heartbeat(self) -> None:
        now_us = self._clock.now_us()
        self._next_beat_s = self._clock.monotonic_s() + self._settings.heartbeat_s
        lease_until_us = now_us + round(self._settings.lease_s * US_PER_S)
        with self._deaf_while_away():
            is_known = self._store.heartbeat(self._worker.id, now_us, lease_until_us)
        if not is_known:
            # Somebody took us for dead: our claims are void by now, but we are here.
            here = msgspec.structs.replace(self._worker, last_seen_at_us=now_us, lease_until_us=lease_until_us)
            self._store.register(here)
            self._announce(LeaseLost(self._worker.id))
            self._on_lease_lost()

    def promote(self) -> None:
        """Make the jobs ready whose time has come, in batches: others must come to write in between."""
        while self._may_go_on():
            if self._store.promote(self._clock.now_us(), PROMOTE_AT_ONCE) < PROMOTE_AT_ONCE:
                break

    def expire(self) -> None:
        """Fail the jobs that have not begun in time, in batches."""
        while self._may_go_on():
            expired = self._store.expire(self._clock.now_us(), EXPIRE_AT_ONCE)
            if expired:
                self._announce(JobsExpired(tuple(expired)))
            if len(expired) < EXPIRE_AT_ONCE:
                break

    def rescue(self) -> None:
        """Take back the jobs of the workers that are dead."""
        with self._deaf_while_away():
            workers = [worker for worker in self._store.workers() if worker.id != self._worker.id]
        silent = self._silences.longer_than_leases(workers)
        for worker in workers:
            if has_died(worker, self._alive, is_silent=worker.id in silent):
                self._rescue(worker.id)

    def _rescue(self, worker_id: str) -> None:
        endings = self._store.rescue([worker_id], self._clock.now_us())
        if self._alive is not None:
            self._alive.forget(worker_id)
        self._announce(JobsRescued(worker_id, len(endings)))

    @contextmanager
    def _deaf_while_away(self) -> Iterator[None]:
        """Around what tells us that hearts can be heard: while the store is away none can, and nobody is dead for it."""
        try:
            yield
        except StoreError:
            self._silences.forget()
            raise

    def forget_results(self) -> None:
        """Drop the results that were kept long enough, in batches."""
        while self._may_go_on():
            if self._store.forget_results(self._clock.now_us(), FORGET_AT_ONCE) < FORGET_AT_ONCE:
                break

    def prune(self) -> None:
        now_us = self._clock.now_us()
        succeeded_us = now_us - round(self._settings.keep_succeeded_s * US_PER_S)
        failed_us = now_us - round(self._settings.keep_failed_s * US_PER_S)
        prune_finished(self._store, succeeded_us, failed_us, lambda: not self._may_go_on())

    def _may_go_on(self) -> bool:
        """Asked before each batch of a duty: there may be so many of them that the lease would end meanwhile."""
        if self._clock.monotonic_s() >= self._next_beat_s:
            self.heartbeat()
        return not self._stopped.is_set()


def prune_finished(
    store: Store, succeeded_before_us: int, failed_before_us: int, is_stopped: Callable[[], bool] = lambda: False
) -> int:
    """Delete the finished jobs that ended before these times, in batches; returns how many."""
    deleted = 0
    while not is_stopped():
        batch = store.prune(succeeded_before_us, failed_before_us, PRUNE_AT_ONCE)
        deleted += batch
        if batch < PRUNE_AT_ONCE:
            break
    return deleted


def has_died(worker: WorkerRow, alive: AliveFolder | None, *, is_silent: bool) -> bool:
    """On one host the kernel's lock says it; else, and where the file is gone, its silence does."""
    is_held = alive.is_held(worker.id) if alive is not None else None
    return is_silent if is_held is None else not is_held


def is_dead(worker: WorkerRow, alive: AliveFolder | None, now_us: int) -> bool:
    """The same at first sight: by its lease, as far as the clocks of both hosts agree."""
    return has_died(worker, alive, is_silent=worker.lease_until_us < now_us)
