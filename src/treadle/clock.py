"""The only place that reads the time or sleeps.

The store keeps wall-clock times as integer microseconds since 1970, UTC. Waiting is measured on the
monotonic clock, so a step of the wall clock never ends or prolongs a wait.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

US_PER_S = 1_000_000


class Clock(Protocol):
    """What the machine needs of a clock; `treadle.testing.ManualClock` is the other one."""

    def now_us(self) -> int:
        """Wall-clock time in microseconds since 1970, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


def sleep_s(seconds: float) -> None:
    """Pause this thread."""
    time.sleep(seconds)


def as_datetime(moment_us: int) -> datetime:
    """The aware datetime (UTC) of a stored time."""
    return datetime.fromtimestamp(moment_us / US_PER_S, UTC)


def as_us(moment: datetime) -> int:
    """The stored time of a datetime; a naive one is taken as local time, as Python does."""
    return round(moment.timestamp() * US_PER_S)
