"""A clock that stands still until a test moves it."""

import threading
from datetime import UTC, datetime

from treadle.clock import US_PER_S, as_us

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Give it wherever a `clock=` is taken: `Treadle(…, clock=ManualClock())`.

        clock = ManualClock()
        app.send_function(task.options(run_after=timedelta(hours=1)))
        clock.advance(3600)
        app.run_pending()

    Wall clock and monotonic clock move together. May be used from several threads.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start_us = as_us(start)
        self._elapsed_us = 0
        self._lock = threading.Lock()

    def now_us(self) -> int:
        with self._lock:
            return self._start_us + self._elapsed_us

    def monotonic_s(self) -> float:
        with self._lock:
            return self._elapsed_us / US_PER_S

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a negative time: use another clock to go back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds} s")
        with self._lock:
            self._elapsed_us += round(seconds * US_PER_S)
