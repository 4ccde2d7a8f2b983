"""What the jobs of the end-to-end tests do: ordinary functions, which each application makes its tasks."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.helpers import is_alive


def string_length(text: str) -> int:
    return len(text)


def note(path: str, line: str) -> None:
    """One write, so that the lines of several processes do not mix."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def run_for(path: str, milliseconds: int) -> None:
    """A short run that leaves a line."""
    note(path, str(os.getpid()))
    time.sleep(milliseconds / 1000)


def hold(started: str, gate: str) -> str:
    """Tells its process id, and runs until the gate opens, or the folder of the test is gone."""
    note(started, str(os.getpid()))
    _wait_for(gate)
    return "open"


def hold_or_tell(started: str, gate: str) -> list[int]:
    """The first run holds; a later one tells which of the earlier runs' processes still live."""
    return _after_first_run(started, lambda: _wait_for(gate))


def compute_for_ever(started: str) -> list[int]:
    """The first run is one call of C code that holds the GIL for days; a later one tells which processes still live."""
    return _after_first_run(started, lambda: sum(range(10**14)))


def _wait_for(gate: str) -> None:
    while not os.path.exists(gate) and os.path.exists(os.path.dirname(gate)):
        time.sleep(0.005)


def _after_first_run(started: str, first: Any) -> list[int]:
    earlier = Path(started).read_text().split() if os.path.exists(started) else []
    if not earlier:
        note(started, str(os.getpid()))
        first()
    return [int(pid) for pid in earlier if is_alive(int(pid))]


def crash(path: str) -> None:
    note(path, str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


def hold_gil(path: str, seconds: float) -> str:
    """Keeps every other thread of its process from running: PyDLL does not let go of the GIL."""
    note(path, str(os.getpid()))
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return "held"


def work(path: str, key: str, milliseconds: int) -> str:
    """A short run that leaves the key of its job, and answers with it."""
    note(path, key)
    time.sleep(milliseconds / 1000)
    return key


def hold_with(path: str, key: str, gate: str) -> str:
    """Leaves the key of its job, and runs until the gate opens."""
    note(path, key)
    _wait_for(gate)
    return "open"


def crash_with(path: str, key: str) -> None:
    """Leaves the key of its job, and kills its process."""
    note(path, key)
    os.kill(os.getpid(), signal.SIGKILL)
