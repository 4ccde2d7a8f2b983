"""How much of the machine was free for the demo: a speed-up says little without it."""

import os
import resource
import time
from pathlib import Path

from treadle.cores import usable_cores

PROC = Path("/proc")
IDLE_FIELDS = slice(3, 5)
"""Of the line `cpu` in /proc/stat: idle and waiting for the disk. Before: user, nice, system; after: interrupts
and what a hypervisor gave to others."""


class Meter:
    """Watches from its making to `free_cores()`."""

    def __init__(self, session: int) -> None:
        """`session`: the session id of the processes that count, with this one, as the demo's own."""
        self._session = session
        self._start_s = time.monotonic()
        self._start = self._others_s()

    def free_cores(self) -> float:
        """How many of the usable cores nobody else used meanwhile."""
        cores = usable_cores()
        now = self._others_s()
        if now is None or self._start is None:
            return max(0.0, cores - os.getloadavg()[0])
        used = (now - self._start) / max(time.monotonic() - self._start_s, 0.01)
        return min(float(cores), max(0.0, (os.cpu_count() or cores) - used))

    def _others_s(self) -> float | None:
        """Processor time of everybody else since the start of the machine; None where the system does not tell."""
        try:
            fields = [int(text) for text in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        own = resource.getrusage(resource.RUSAGE_SELF)
        ticks = sum(fields) - sum(fields[IDLE_FIELDS]) - self._session_ticks()
        return ticks / os.sysconf("SC_CLK_TCK") - own.ru_utime - own.ru_stime

    def _session_ticks(self) -> int:
        return sum(_ticks(path, self._session) for path in PROC.glob("[0-9]*/stat"))


def _ticks(stat: Path, session: int) -> int:
    """What one process used, if it belongs to the session."""
    try:
        # The name of the program stands in brackets and may hold anything.
        fields = stat.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12]) if int(fields[3]) == session else 0
