"""One thread a process that looks at all jobs which anybody follows here, and tells each follower what is new.

However many there are, the store sees one waiter and one query for each change. The thread lives while there are
followers. It looks at most every 0.1 s, so that a busy store is not read for each of its commits; while the store is
away it tries again, and followers hear nothing but heartbeats.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from treadle.clock import Clock, SystemClock
from treadle.errors import StoreError
from treadle.job import Job, Kind, Message
from treadle.store.contract import Part, Store, Wakeup
from treadle.web.events import GONE, Told
from treadle.web.looks import Look

LOOK_EVERY_S = 5.0
"""Though nothing told of a change."""
PAUSE_S = 0.1
"""Between looks: what comes meanwhile is told together."""
RETRY_S = 1.0

Tell = Callable[[dict[str, Look | None]], None]
"""Called in the watcher's thread with what is new of the jobs of one follower; None: a job is not there."""


class Feed:
    """The jobs of one follower, and what it was told of each."""

    def __init__(self, told: dict[str, Told], tell: Tell) -> None:
        self.told = told
        self._tell = tell

    def look(self, reader: "Reader") -> None:
        """Tell what has changed since the last time."""
        news: dict[str, Look | None] = {}
        for job_id in self.told:
            news |= self._news(job_id, reader)
        if news:
            # Who is told may be gone by now: it leaves by itself.
            with contextlib.suppress(RuntimeError):
                self._tell(news)

    def _news(self, job_id: str, reader: "Reader") -> dict[str, Look | None]:
        told, row = self.told[job_id], reader.rows.get(job_id)
        if row is None:
            self.told[job_id] = GONE
            return {} if told == GONE else {job_id: None}
        if row.version <= told.version:
            return {}
        look = reader.look(row, told.message)
        self.told[job_id] = Told(row.version, look.messages[-1].number if look.messages else told.message)
        return {job_id: look}


class Reader:
    """What one look at the store has found, read once for all followers."""

    def __init__(self, store: Store, ids: Sequence[str], now_us: int) -> None:
        self._store = store
        self._now_us = now_us
        self.rows: dict[str, Job] = store.jobs(ids)
        self._messages: dict[tuple[str, int], list[Message]] = {}
        self._parts: dict[str, list[Part]] = {}

    def look(self, row: Job, after: int) -> Look:
        if (row.id, after) not in self._messages:
            self._messages[row.id, after] = self._store.messages(row.id, after)
        if row.id not in self._parts:
            self._parts[row.id] = self._store.parts(row.id) if row.kind is Kind.WHOLE else []
        return Look(row, self._messages[row.id, after], self._parts[row.id], self._now_us)


class Watcher:
    """Made for a store; looks at nothing while nobody follows."""

    def __init__(self, open_store: Callable[[], Store], clock: Clock | None = None) -> None:
        """`open_store`: gives a store that a thread of ours may use for long."""
        self._open_store = open_store
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._feeds: list[Feed] = []
        self._thread: threading.Thread | None = None
        self._wakeup: Wakeup | None = None
        self._paused = threading.Event()

    def open(self) -> None:
        """Open the store, for whoever must not block later. Raises a StoreError, or ConfigurationError."""
        self._open_store()

    @contextlib.contextmanager
    def following(self, told: dict[str, Told], tell: Tell) -> Iterator[None]:
        """Tell of these jobs, by what is known of each, from now on until the block ends."""
        feed = Feed(dict(told), tell)
        with self._lock:
            self._feeds.append(feed)
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._feeds.remove(feed)
                self._wake()

    def _start(self) -> None:
        """Have a thread look at once. After a fork the parent's is not there."""
        if self._thread is None or not self._thread.is_alive():
            self._wakeup = None
            self._thread = threading.Thread(target=self._run, name="treadle-followers", daemon=True)
            self._thread.start()
        self._wake()

    def _wake(self) -> None:
        self._paused.set()
        if self._wakeup is not None:
            self._wakeup.wake()

    def _run(self) -> None:
        while self._is_wanted():
            with contextlib.suppress(StoreError), self._open_store().wakeup() as wakeup:
                self._wakeup = wakeup
                self._look_on(wakeup)
            self._wakeup = None
            self._pause(RETRY_S)

    def _look_on(self, wakeup: Wakeup) -> None:
        while feeds := tuple(self._feeds):
            ids = {id_ for feed in feeds for id_ in feed.told}
            reader = Reader(self._open_store(), sorted(ids), self._clock.now_us())
            for feed in feeds:
                feed.look(reader)
            self._pause(PAUSE_S)
            wakeup.wait(LOOK_EVERY_S)

    def _pause(self, pause_s: float) -> None:
        """Ended by whoever comes: a new follower is not kept waiting."""
        self._paused.clear()
        if self._feeds:
            self._paused.wait(pause_s)

    def _is_wanted(self) -> bool:
        """Whether anybody follows; if not, this thread ends, and the next follower starts another."""
        with self._lock:
            if not self._feeds:
                self._thread = None
            return bool(self._feeds)
