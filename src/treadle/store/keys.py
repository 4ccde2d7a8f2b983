"""What keys mean for those who send and for those who claim, the same for every store.

A unique key says who may be sent. A concurrency key says who may run: of the jobs with one key, of whatever task, queue
or pool, one. A claim takes the most urgent of each key with which no job runs, in its order, among the jobs without one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import Any, NamedTuple

from treadle.clock import Clock, SystemClock
from treadle.job import Job


def split_unique(jobs: Sequence[Job]) -> tuple[list[Job], Sequence[Job]]:
    """The jobs with a unique key, in the order of their keys, and those without one.

    Two senders that insert the same keys in the same order wait for each other at most once, and never both. Of
    several with one key the first stays the first.
    """
    unique = [job for job in jobs if job.unique_key is not None]
    if not unique:
        return unique, jobs
    others = [job for job in jobs if job.unique_key is None]
    return sorted(unique, key=lambda job: (job.task, job.unique_key or "")), others


def with_parts(stand_ins: Mapping[str, Job], jobs: Sequence[Job]) -> dict[str, Job]:
    """Who stands in for a whole stands in for its parts among these jobs, too."""
    parts = {job.id: stand_ins.get(job.group_id or "") for job in jobs}
    return {**stand_ins, **{id_: twin for id_, twin in parts.items() if twin is not None}}


NEAR = 200
"""Of the ready jobs with a concurrency key so many are looked at in the order of the claim. That is exact, and enough as
long as not so many wait behind few keys."""
FAR = 500
"""Else the jobs are looked at key by key, so many keys at once: one key costs some microseconds, however many wait."""


TRIES = 3
"""How often a claim tries anew what others were quicker with."""


class Candidate(NamedTuple):
    """A ready job, as a claim looks at it."""

    id: str
    priority: int
    run_at_us: int
    may_wait: bool
    """Whether it may wait in a pool. Else it is claimed to be started at once: what waits there may have started, for all
    the store knows, and it may run at most once, or its key would be taken meanwhile."""
    key: str | None = None
    is_taken: bool = False
    """Whether a job with its key runs."""

    @property
    def urgency(self) -> tuple[int, int, str]:
        """What comes first is claimed first."""
        return (-self.priority, self.run_at_us, self.id)


class KeyScan:
    """Finds the jobs with a key that may run now, for one store."""

    def __init__(self) -> None:
        self._seen_to: dict[object, str] = {}
        """Where more keys wait than are looked at once, the next look goes on behind the last key."""

    def open_jobs(
        self, line: object, wanted: int, near: Callable[[], list[Candidate]], far: Callable[[str], list[Candidate]]
    ) -> list[Candidate]:
        """The most urgent of each key with which no job runs: `wanted` of them or more, where there are so many.

        `line` is what is claimed from. `near` gives the NEAR most urgent jobs; `far` the most urgent of each of the next
        FAR keys behind one, in the order of the keys.
        """
        nearest = near()
        found = most_urgent(nearest)
        if len(found) >= wanted or len(nearest) < NEAR:
            return found
        others = far(self._seen_to.get(line, ""))
        self._seen_to[line] = others[-1].key or "" if len(others) == FAR else ""
        return most_urgent([*nearest, *others])


class Looks:
    """When a worker may claim without a look whether jobs with a key are ready, which is one trip more to a server.

    Namely while jobs without one fill each of its claims, for a moment: where a claim is not filled it looks after all.
    """

    def __init__(self, every_s: float, clock: Clock | None = None) -> None:
        self._every_s = every_s
        self._clock = clock or SystemClock()
        self._spared_until_s: dict[str, float] = {}

    def looked(self, pool: str, *, may_be_spared: bool) -> None:
        """`may_be_spared`: none with a key was ready, and those without one were as many as were wanted."""
        self._spared_until_s[pool] = self._clock.monotonic_s() + self._every_s if may_be_spared else 0.0

    def may_be_spared(self, pool: str) -> bool:
        return self._clock.monotonic_s() < self._spared_until_s.get(pool, 0.0)


class KeyedClaim:
    """A claim of chosen jobs: where some of what is ready has a key, or where what waits in a pool comes from beside a paused
    queue. By what a store looks up and takes for it.

    `look(statement, queue, **values)` gives what a statement finds, in a queue or (None) in all; `take(candidates)` those
    that it could claim of these.
    """

    def __init__(
        self, scan: KeyScan, pool: str, *, starts: bool,
        look: Callable[..., list[Candidate]], take: Callable[[list[Candidate]], list[Job]],
    ) -> None:  # fmt: skip
        self._scan = scan
        self._pool = pool
        self._starts = starts
        self._look = look
        self._take = take

    def of(self, lines: Iterable[Sequence[str | None]], limit: int) -> list[Job]:
        """Up to `limit` jobs from these lines, one after the other; the queues of one line are alike."""
        claimed: list[Job] = []
        for line in lines:
            found, is_over = self._of_line(line, limit - len(claimed))
            claimed += found
            if is_over or len(claimed) == limit:
                break
        return claimed

    def _of_line(self, line: Sequence[str | None], limit: int) -> tuple[list[Job], bool]:
        """True: what comes in the next lines comes after a job that must not wait in a pool."""
        claimed: list[Job] = []
        lost: set[str] = set()
        for _ in range(TRIES):
            with_key = [found for queue in line for found in self._with_free_key(queue, limit, lost)]
            without_key = [found for queue in line for found in self._without_key(queue, limit, lost)]
            wanted = chosen(without_key, most_urgent(with_key), limit - len(claimed), starts=self._starts)
            claimed += self._take(wanted) if wanted else []
            missed = {candidate.id for candidate in wanted} - {job.id for job in claimed}
            if not missed:
                break
            # Another was quicker with these: what comes after them is tried.
            lost |= missed
        return claimed, not self._starts and not all(found.may_wait for found in (*with_key, *without_key))

    def _with_free_key(self, queue: str | None, limit: int, lost: set[str]) -> list[Candidate]:
        def seen(statement: str, **values: Any) -> list[Candidate]:
            found = self._look(statement, queue, **values)
            return [candidate._replace(is_taken=candidate.is_taken or candidate.id in lost) for candidate in found]

        return self._scan.open_jobs(
            (self._pool, queue), limit if self._starts else 1,
            near=lambda: seen("get_urgent_with_key", near=NEAR),
            far=lambda after: seen("get_first_of_keys", far=FAR, after_key=after),
        )  # fmt: skip

    def _without_key(self, queue: str | None, limit: int, lost: set[str]) -> list[Candidate]:
        found = self._look("get_urgent_without_key", queue, limit=limit + len(lost))
        return [candidate for candidate in found if candidate.id not in lost]


def most_urgent(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The most urgent of each key with which no job runs, in the order of the claim."""
    firsts: dict[str | None, Candidate] = {}
    for candidate in sorted(candidates, key=_urgency):
        if not candidate.is_taken:
            firsts.setdefault(candidate.key, candidate)
    return list(firsts.values())


def chosen(
    without_key: Iterable[Candidate], with_key: Iterable[Candidate], limit: int, *, starts: bool
) -> list[Candidate]:
    """What a claim takes of the jobs that may run now.

    Without `starts` a claim ends before the first that may not wait in a pool; then that runs empty, and the next claim
    starts it.
    """
    wanted = sorted([*without_key, *with_key], key=_urgency)[:limit]
    return wanted if starts else list(takewhile(attrgetter("may_wait"), wanted))


_urgency = attrgetter("urgency")
