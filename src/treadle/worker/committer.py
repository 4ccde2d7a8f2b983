"""What running jobs have told and the store does not know yet.

Any thread adds; the worker's loop writes everything in one transaction. What is written is dropped only
after the commit, so a store that is away for a while costs nothing but time.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from treadle.clock import Clock
from treadle.events import Event, JobEnded, LateResultRefused, MessagesDropped
from treadle.job import Claim, Ending, Job, Outcome, Progress, Report
from treadle.states import State
from treadle.store.contract import Store

REPORT_INTERVAL_S = 0.1
"""Progress and messages are written at most this often."""
GROUP_COMMIT_S = 0.01
"""How long an ending may wait for others to share its commit, while the pools have enough to do."""


MOST_MESSAGE_CHARACTERS = 16_000_000
"""Of messages that wait, while the store is away; endings are bounded by what runs, since nothing more is claimed."""


class _News:
    """One batch."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.started: dict[Claim, int] = {}
        self.released: list[Claim] = []
        self.progress: dict[Claim, Progress | None] = {}
        self.messages: dict[Claim, list[tuple[int, str]]] = {}
        self.message_characters = 0
        self.dropped = 0
        self.first_ending_s: float | None = None

    def reports(self) -> list[Report]:
        return [
            Report(claim, progress, tuple(self.messages.get(claim, ()))) for claim, progress in self.progress.items()
        ]


class Committer:
    """Collects news of runs, and writes them in batches."""

    def __init__(
        self, store: Store, clock: Clock, worker_id: str, unknown_task_s: float, announce: Callable[[Event], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._unknown_task_s = unknown_task_s
        self._announce = announce
        self._lock = threading.Lock()
        self._news = _News()
        self._last_write_s = clock.monotonic_s()

    def add_ending(self, job: Job, outcome: Outcome) -> bool:
        """Returns whether it is the first of a batch."""
        with self._lock:
            now_us = self._clock.now_us()
            self._news.endings.append(Ending.of(job, outcome, now_us, self._unknown_task_s))
            return self._is_first()

    def add_started(self, job: Job, started_at_us: int) -> None:
        with self._lock:
            self._news.started[job.claim] = started_at_us

    def add_release(self, job: Job) -> bool:
        """Returns whether it is the first of a batch."""
        with self._lock:
            self._news.released.append(job.claim)
            return self._is_first()

    def _is_first(self) -> bool:
        is_first = self._news.first_ending_s is None
        if is_first:
            self._news.first_ending_s = self._clock.monotonic_s()
        return is_first

    def add_report(self, job: Job, value: Any) -> None:
        """A Progress, or the JSON of a message."""
        with self._lock:
            claim = job.claim
            if isinstance(value, Progress):
                self._news.progress[claim] = value
            elif self._news.message_characters + len(value) > MOST_MESSAGE_CHARACTERS:
                self._news.dropped += 1
            else:
                self._news.message_characters += len(value)
                self._news.progress.setdefault(claim, None)
                self._news.messages.setdefault(claim, []).append((self._clock.now_us(), value))

    def due_in_s(self, *, may_wait: bool = False) -> float | None:
        """When there is something to write: 0 for now; None where there is nothing.

        `may_wait`: nobody is idle meanwhile, so endings may gather to a larger commit.
        """
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._news.first_ending_s is not None:
                return max(0.0, self._news.first_ending_s + GROUP_COMMIT_S - now_s) if may_wait else 0.0
            if self._news.message_characters > MOST_MESSAGE_CHARACTERS // 2:
                return 0.0
            if self._news.progress or self._news.started:
                return max(0.0, self._last_write_s + REPORT_INTERVAL_S - now_s)
            return None

    @contextmanager
    def written(self) -> Iterator[None]:
        """A transaction of the store in which all news are written; they are kept if it fails."""
        with self._lock:
            news, self._news = self._news, _News()
        try:
            with self._store.transaction():
                ended = self._write(news)
                yield
        except BaseException:
            self._take_back(news)
            raise
        self._last_write_s = self._clock.monotonic_s()
        if news.dropped:
            self._announce(MessagesDropped(self._worker_id, news.dropped))
        self._tell(news.endings, ended)

    def _write(self, news: _News) -> dict[Claim, JobEnded]:
        """Returns what runs have ended in, for the store."""
        # Reports before endings: they are accepted only while the claim holds.
        if news.progress:
            self._store.report(news.reports(), self._clock.now_us())
        ending = {ending.job.claim for ending in news.endings}
        started = [(claim, at_us) for claim, at_us in news.started.items() if claim not in ending]
        if started:
            self._store.mark_started(started)
        if news.released:
            self._store.release(news.released, self._clock.now_us())
        return finish(self._store, news.endings, self._worker_id) if news.endings else {}

    def _take_back(self, news: _News) -> None:
        with self._lock:
            newer, self._news = self._news, news
            news.first_ending_s = news.first_ending_s or newer.first_ending_s
            news.endings += newer.endings
            news.released += newer.released
            news.started |= newer.started
            news.message_characters += newer.message_characters
            news.dropped += newer.dropped
            for claim, progress in newer.progress.items():
                news.progress[claim] = progress or news.progress.get(claim)
                news.messages.setdefault(claim, []).extend(newer.messages.get(claim, ()))

    def _tell(self, endings: list[Ending], ended: Mapping[Claim, JobEnded]) -> None:
        for ending in endings:
            self._announce(ended.get(ending.job.claim) or LateResultRefused(ending.job, self._worker_id))


def finish(store: Store, endings: list[Ending], worker_id: str) -> dict[Claim, JobEnded]:
    """Write the ends of runs; returns those that the store has accepted."""
    accepted = store.finish(endings)
    # The first ending of a claim counts.
    told = {ending.job.claim: ending for ending in reversed(endings)}
    ended = {claim: JobEnded(told[claim].job, told[claim].outcome, told[claim].state, worker_id) for claim in accepted}
    refused = {claim: told[claim] for claim in told.keys() - accepted}
    return ended | _succeeded(store, refused, worker_id) if refused else ended


def _succeeded(store: Store, refused: Mapping[Claim, Ending], worker_id: str) -> dict[Claim, JobEnded]:
    """Those of these endings whose runs have made their jobs succeed.

    Only a run itself does so under its claim: in a transaction of its own, or in one of ours of which we were not told
    that it was kept.
    """
    rows = store.jobs([claim.id for claim in refused]).values()
    return {
        row.claim: JobEnded(refused[row.claim].job, Outcome.succeeded(row.result or "null"), State.SUCCEEDED, worker_id)
        for row in rows
        if row.state is State.SUCCEEDED and row.claim in refused
    }
