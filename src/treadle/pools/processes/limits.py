"""Who watches over the calls that have limits: deadlines and memory, looked at by the listener.

Such a call is the only one that its child was given, so to end it the child is killed, and nobody else is harmed.
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import NamedTuple

from treadle.errors import LimitNotKept, MemoryLimitExceeded, TaskTimeout
from treadle.pools.contract import Limits
from treadle.pools.processes.call import Call
from treadle.pools.processes.member import Member
from treadle.pools.processes.surroundings import PAGE_MB, own_memory_mb

MEMORY_EVERY_S = 0.05
MEASURES_MEMORY = sys.platform == "linux"


def check(limits: Limits, size: int) -> None:
    """Raises ValueError for more cores than there are, LimitNotKept for a memory limit where none can be watched."""
    if limits.cores is not None and limits.cores > size:
        raise ValueError(f"cores={limits.cores} is more than the {size} workers of this pool")
    if limits.memory_mb is not None and not MEASURES_MEMORY:
        raise LimitNotKept(
            f"memory_mb={limits.memory_mb} cannot be kept on {sys.platform}: only Linux tells a process's memory"
        )


class Watched(NamedTuple):
    """A call that has started."""

    member: Member
    deadline_s: float | None
    memory_before_mb: float


class Watch:
    """The running calls that have limits. Used under the crew's lock."""

    def __init__(self) -> None:
        self._watched: dict[Call, Watched] = {}

    def begin(self, call: Call, member: Member, memory_before_mb: float) -> None:
        """The call starts now; its child has told its memory, for by now it may have grown already."""
        timeout_s = call.limits.timeout_s
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._watched[call] = Watched(member, deadline_s, memory_before_mb)

    def end(self, call: Call) -> None:
        self._watched.pop(call, None)

    def verdicts(self, now_s: float) -> list[tuple[Call, BaseException]]:
        """The calls that are over a limit, each once, with what it ends with."""
        found = [(call, verdict) for call, seen in self._watched.items() if (verdict := _verdict(call, seen, now_s))]
        for call, _ in found:
            del self._watched[call]
        return found

    def next_s(self, now_s: float) -> float | None:
        """In how many seconds to look again."""
        waits_s = [seen.deadline_s - now_s for seen in self._watched.values() if seen.deadline_s is not None]
        if any(call.limits.memory_mb for call in self._watched):
            waits_s.append(MEMORY_EVERY_S)
        return max(0.0, min(waits_s)) if waits_s else None


def _verdict(call: Call, seen: Watched, now_s: float) -> BaseException | None:
    if seen.deadline_s is not None and now_s >= seen.deadline_s:
        return TaskTimeout(f"the call ran longer than timeout_s={call.limits.timeout_s} and was killed")
    limit_mb = call.limits.memory_mb
    if limit_mb is not None:
        grown_mb = own_memory_mb(seen.member.pid) - seen.memory_before_mb
        if grown_mb > limit_mb:
            return MemoryLimitExceeded(
                f"the call took {grown_mb:.0f} MB, more than memory_mb={limit_mb}, and was killed"
            )
    return None


def resident_mb(pid: int) -> float:
    """What a process has in memory; 0 where that cannot be told."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB
    return 0.0


def is_over(pid: int, limit_mb: float) -> bool:
    """Whether a process has more than this in memory. The segments of its calls do not count: they are its owner's."""
    return (found_mb := resident_mb(pid)) > limit_mb and found_mb - _segments_mb(pid) > limit_mb


def _segments_mb(pid: int) -> float:
    """What a process has resident of memory that it shares, as our segments; 0 where that cannot be told."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssShmem:"):
                return int(line.split()[1]) / 1024
    return 0.0
