"""The pools of one worker: how many jobs each may hold, and which jobs it holds now."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import takewhile
from typing import Any

import msgspec

from treadle.clock import Clock
from treadle.job import Claim, Job
from treadle.pools.contract import Pool

PREFETCH_S = 0.1
"""How much work waits in a pool for each child, so that none idles during a commit."""
MOST_PREFETCHED = 256
"""However short they are: a commit that carries more saves little. Processor time of the worker for a job that does
nothing, with 64, 256 and 512: 179, 145 and 147 µs."""
PREFETCH_BELOW_S = 0.02
"""Only while jobs are this short on average; a prefetched job cannot be taken by another worker."""
UNBOUNDED = 1_000_000
REFILL_S = 0.02
RECENT = 0.2
"""The weight of the last run in the average."""


class Rate:
    """Bounds how many jobs are claimed a second; None: not at all."""

    def __init__(self, per_s: int | None, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = float(per_s or 0)
        self._filled_s = clock.monotonic_s()

    @property
    def allowance(self) -> int:
        """How many jobs may be claimed now: what has come in since the last claims, at most a second's."""
        if self._per_s is None:
            return UNBOUNDED
        now_s = self._clock.monotonic_s()
        self._left = min(self._left + (now_s - self._filled_s) * self._per_s, float(self._per_s))
        self._filled_s = now_s
        return int(self._left)

    def spend(self, count: int) -> None:
        self._left -= count

    @property
    def refilled_in_s(self) -> float:
        """When to look again: soon where the allowance is what holds jobs back."""
        return REFILL_S if self.allowance == 0 else UNBOUNDED


class Flight:
    """A job in a pool."""

    __slots__ = (
        "cancel_requested_at_us",
        "future",
        "handed_over_s",
        "has_started",
        "is_aside",
        "is_killed",
        "is_prefetched",
        "is_stuck",
        "job",
        "pool",
        "thread_id",
    )

    def __init__(self, job: Job, handed_over_s: float, pool: Pool) -> None:
        self.job = job
        self.pool = pool
        """Where it runs; its place may have another by now."""
        self.future: Future[Any] | None = None
        self.handed_over_s = handed_over_s
        self.is_prefetched = job.started_at_us is None
        """It was claimed to wait; else its claim says already that it starts."""
        self.has_started = False
        """The pool has told that the function runs."""
        self.cancel_requested_at_us: int | None = None
        self.is_killed = False
        self.thread_id: int | None = None
        """Which thread has told of its start: the one that it runs in, where that is of this process."""
        self.is_stuck = False
        self.is_aside = False
        """Another job has its slot."""

    @property
    def row(self) -> Job:
        """The job with what was asked for while it flew."""
        # Apart from `job`, which the pool's thread replaces: neither change may undo the other.
        if self.cancel_requested_at_us is None:
            return self.job
        return msgspec.structs.replace(self.job, cancel_requested_at_us=self.cancel_requested_at_us)


class Place:
    """One pool with its slots."""

    def __init__(self, name: str, slots: int, make: Callable[[], Pool]) -> None:
        self.name = name
        self.slots = slots
        self._make = make
        self._pool: Pool | None = None
        self._former: list[Pool] = []
        self._mean_run_s: float | None = None
        self._has_given_back = False
        """What was prefetched has waited for too long, and no run has ended since."""
        self.flights: dict[Claim, Flight] = {}

    @property
    def pool(self) -> Pool:
        """The pool, made when it is first needed."""
        # Read once: the watch for stuck runs may replace it meanwhile.
        pool = self._pool
        if pool is None:
            pool = self._pool = self._make()
        return pool

    @property
    def free(self) -> int:
        """How many more jobs could start at once; one with `cores` takes up so many slots."""
        if self.has_waiting:
            return 0
        taken = (flight.job.cores or 1 for flight in tuple(self.flights.values()) if not flight.is_aside)
        return max(0, self.slots - sum(taken))

    @property
    def stuck(self) -> int:
        """How many runs go on for too long."""
        return sum(flight.is_stuck for flight in tuple(self.flights.values()))

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pool, where there is one yet, after those that it has replaced and whose runs go on."""
        return (*self._former, *([] if self._pool is None else [self._pool]))

    def replace(self, pool: Pool, most: int) -> bool:
        """Have the next jobs run in another pool than this, if there are not `most` yet; returns whether they do."""
        if pool is self._pool and len(self._former) + 1 < most:
            self._former.append(pool)
            self._pool = None
        return pool is not self._pool

    def drop_idle_pools(self) -> None:
        """Let go of the replaced pools whose runs have all ended."""
        busy = {id(flight.pool) for flight in tuple(self.flights.values())}
        for pool in [pool for pool in self._former if id(pool) not in busy]:
            pool.shutdown(wait=False)
            self._former.remove(pool)

    @property
    def prefetch(self) -> int:
        """How many more jobs may wait here; none where a crash would take the worker, and them, along."""
        mean_s = self._mean_run_s
        if self._pool is None or self._pool.in_process or mean_s is None or mean_s > PREFETCH_BELOW_S:
            return 0
        if self._has_given_back:
            # What runs takes long, whatever the mean says: what is taken now would wait, where others could run it.
            return 0
        most = min(MOST_PREFETCHED, int(self.slots * PREFETCH_S / mean_s)) if mean_s > 0 else MOST_PREFETCHED
        missing = self.slots + most - len(self.flights)
        # In large steps, so that a claim is one statement for many jobs.
        return missing if missing >= most // 2 else 0

    @property
    def has_waiting(self) -> bool:
        """Whether a slot that becomes free has a successor here, which only what is prefetched can be."""
        return len(self.flights) > self.slots and self._pool is not None and not self._pool.in_process

    def measure(self, run_s: float) -> None:
        """Learn how long a run took."""
        mean_s = run_s if self._mean_run_s is None else self._mean_run_s
        self._mean_run_s = mean_s + RECENT * (run_s - mean_s)
        self._has_given_back = False

    def give_back(self, flight: Flight) -> None:
        """Return a prefetched job, unless it runs by now; then no more are prefetched until a run has ended."""
        if flight.future is not None and flight.pool.cancel_waiting(flight.future):
            self._has_given_back = True

    def waiting_since(self, moment_s: float) -> Iterator[Flight]:
        """The prefetched flights handed over before this moment that have not started."""
        waiting = (f for f in tuple(self.flights.values()) if f.is_prefetched and not f.has_started)
        # Those that wait stand in the order in which they were handed over.
        return takewhile(lambda flight: flight.handed_over_s < moment_s, waiting)

    def shutdown(self) -> None:
        for pool in self.pools:
            # A thread that is stuck must not keep the worker: what it runs was interrupted already.
            pool.shutdown(wait=not pool.in_process, cancel_futures=True)
