"""How soon a client should ask again: soon while a job is young, later when it takes long, later still under load."""

import random
import threading

from treadle.clock import Clock, SystemClock

STEPS_S = ((10.0, 0.5), (60.0, 1.0), (600.0, 2.0))
"""Up to this age of a job, ask again after so long."""
SLOWEST_S = 5.0
LONGEST_S = 30.0
"""However busy a process is."""
JITTER = 0.2
"""So much earlier or later, so that clients which came together do not come together again."""
BUSY_PER_S = 50
"""A process that answers more followers a second than this asks them to come less often."""


def interval_s(age_s: float) -> float:
    """How soon to ask again after a job of this age, on a server that has little to do."""
    return next((pause_s for until_s, pause_s in STEPS_S if age_s < until_s), SLOWEST_S)


class Pace:
    """What one process tells its followers, by how many of them it has answered in the last second."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._second = 0
        self._counts = (0, 0)
        """Answers of this second, and of the one before."""

    def after_s(self, age_s: float) -> float:
        """When a client that is answered now should come again."""
        load = max(1.0, self._answered() / BUSY_PER_S)
        # Not a secret: any numbers that differ will do.
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        return min(interval_s(age_s) * load, LONGEST_S) * jitter

    def _answered(self) -> int:
        """Count an answer; how many there were in about a second."""
        second = int(self._clock.monotonic_s())
        with self._lock:
            if second != self._second:
                self._counts = (0, self._counts[0] if second == self._second + 1 else 0)
                self._second = second
            self._counts = (self._counts[0] + 1, self._counts[1])
            return max(self._counts)


def retry_after(age_s: float) -> str:
    """The header `Retry-After`, which knows whole seconds only."""
    return str(max(1, round(interval_s(age_s))))
