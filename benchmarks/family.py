"""The processes that belong to one measurement, found through /proc; Linux only.

Two ways find them, since each misses some: a mark in the environment, which a process inherits also from an owner
that has died, and the tree of parents, for a program that writes over its environment (as Ray's do).
"""

import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MARK = "TREADLE_BENCH_MARK"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TIDY_WITHIN_S, END_WITHIN_S = 3.0, 6.0
LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Process:
    """What /proc says of a process; the same one when it has the same id and the same start."""

    pid: int
    started_ticks: int
    parent: int = field(compare=False)
    cpu_s: float = field(compare=False)
    is_zombie: bool = field(compare=False)


def processes() -> dict[int, Process]:
    """All that are there now, by id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name, in brackets, may hold anything; what follows it begins with the state.
            fields = stat.read_text().rpartition(")")[2].split()
            pid, used_s = int(stat.parent.name), (int(fields[11]) + int(fields[12])) / TICKS_PER_S
            found[pid] = Process(pid, int(fields[19]), int(fields[1]), used_s, is_zombie=fields[0] == "Z")
    return found


def tree(pids: Iterable[int]) -> list[Process]:
    """These processes and all their descendants."""
    there, family = processes(), set(pids)
    while children := {p.pid for p in there.values() if p.parent in family} - family:
        family |= children
    return [there[pid] for pid in family if pid in there]


def new_mark() -> str:
    """A value for MARK that no other process has."""
    return uuid.uuid4().hex


def marked(mark: str) -> list[Process]:
    """The living processes that were started with this mark."""
    sought = f"{MARK}={mark}".encode()
    return [process for process in processes().values() if sought in _environment(process.pid)]


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def living(family: Iterable[Process]) -> list[Process]:
    """Those of them that have not ended."""
    now = {process for process in processes().values() if not process.is_zombie}
    return [process for process in family if process in now]


def end(mark: str, others: Iterable[Process] = ()) -> None:
    """Kill, each by its id, what has the mark, what those have started, and the others."""
    started_s, known = time.monotonic(), set(others)
    # Again and again: a supervisor may start a new process while its old ones die.
    while left := living(known | set(tree(p.pid for p in marked(mark)))):
        known.update(left)
        spent_s = time.monotonic() - started_s
        for process in left:
            if spent_s > TIDY_WITHIN_S or not _is_tidying(process.pid):
                _kill(process.pid)
        if spent_s > END_WITHIN_S:
            raise RuntimeError(f"processes that do not die of SIGKILL: {[p.pid for p in left]}")
        time.sleep(LOOK_EVERY_S)


def end_all_on_sigterm() -> None:
    """A SIGTERM of this program unwinds it, so that what ends its processes runs."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is_tidying(pid: int) -> bool:
    """Whether it is what takes multiprocessing's and loky's files out of /dev/shm, and ends when the others have."""
    with contextlib.suppress(OSError):
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that these and all their descendants have used, in seconds."""
    return sum(process.cpu_s for process in tree(pids))


def pss_mb(family: Iterable[Process]) -> float:
    """Memory of these processes in MB (10**6 bytes); a page that several share is counted once in all."""
    return sum(_pss_kib(process.pid) for process in family) * 1024 / 1e6


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return 0
