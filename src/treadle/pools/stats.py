"""What a pool tells of itself."""

from dataclasses import dataclass, field


class Histogram:
    """Counts durations, each in the bucket of its power of two: bucket n holds those below 2**n microseconds."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * 64

    def add(self, seconds: float) -> None:
        self.counts[int(seconds * 1e6).bit_length()] += 1

    def snapshot(self) -> dict[float, int]:
        """Upper bound in seconds -> how many durations lie below it and above the one before; empty buckets left out."""
        return {2**power / 1e6: count for power, count in enumerate(self.counts) if count}


@dataclass(frozen=True)
class Stats:
    """A pool at one moment."""

    workers: int
    """Children (or threads) that live now."""
    busy: int
    queued: int
    """Calls that no child was given yet."""
    done: int
    """Calls that have ended, however, since the pool was made."""
    restarts: int
    """Children that died and had not been told to leave."""
    pids: tuple[int, ...] = ()
    wait_s: dict[float, int] = field(default_factory=dict)
    """How long calls waited for a child: upper bound in seconds -> how many."""
    run_s: dict[float, int] = field(default_factory=dict)
    """How long calls ran: upper bound in seconds -> how many."""
