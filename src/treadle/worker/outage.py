"""The store is away: that is told once when it goes and once when it is back, and tries come ever more seldom."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from treadle.clock import Clock, sleep_s
from treadle.errors import StoreError
from treadle.events import Event, StoreAway, StoreBack

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Between two tries, each pause twice as long."""
PAUSE_LOOK_S = 0.1
"""How soon a signal is heeded in such a pause."""


class Pauses:
    """The waits between tries. One ends early where what `haste` gives changes: somebody is in more of a hurry."""

    def __init__(self, haste: Callable[[], object]) -> None:
        self._haste = haste
        self._next_s = FIRST_PAUSE_S

    def wait(self) -> None:
        """Wait for longer than the last time."""
        left_s, haste = self._next_s, self._haste()
        while left_s > 0 and self._haste() == haste:
            sleep_s(min(left_s, PAUSE_LOOK_S))
            left_s -= PAUSE_LOOK_S
        self._next_s = min(self._next_s * 2, LONGEST_PAUSE_S)

    def reset(self) -> None:
        """A try has succeeded."""
        self._next_s = FIRST_PAUSE_S


class Outage:
    """What the loop and the duties of one worker know together. May be used from several threads."""

    def __init__(self, worker_id: str, clock: Clock, announce: Callable[[Event], None]) -> None:
        self._worker_id = worker_id
        self._clock = clock
        self._announce = announce
        self._lock = threading.Lock()
        self._who_fails: set[str] = set()
        self._since_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether somebody has met it and not got through since."""
        return bool(self._who_fails)

    @contextmanager
    def watching(self, who: str) -> Iterator[None]:
        """Around each attempt to use the store; a StoreError is noted and raised."""
        try:
            yield
        except StoreError as error:
            self.meets(who, error)
            raise
        self.gets_through(who)

    def meets(self, who: str, error: StoreError) -> None:
        """Somebody could not use the store."""
        with self._lock:
            is_first = not self._who_fails
            self._who_fails.add(who)
            if is_first:
                self._since_s = self._clock.monotonic_s()
        if is_first:
            self._announce(StoreAway(self._worker_id, error))

    def gets_through(self, who: str) -> None:
        """Somebody could, who perhaps could not before."""
        # On a full disk looks succeed and writes do not: it is over only when each that failed has succeeded.
        if who not in self._who_fails:
            return
        with self._lock:
            self._who_fails.discard(who)
            is_over = not self._who_fails
        if is_over:
            self._announce(StoreBack(self._worker_id, self._clock.monotonic_s() - self._since_s))
