"""What the measured pools run. Their children import this, so it imports next to nothing."""

import os
import signal
import time
from pathlib import Path
from typing import Any

BUSY_S = 20.0
"""How long the calls of an owner that is killed would go on: longer than anybody looks."""
LCG_A, LCG_C, LCG_M = 1_103_515_245, 12_345, 2**31


def echo(value: int) -> int:
    """Next to nothing; that it gives back its argument proves that it ran."""
    return value


def negate(value: int) -> int:
    """What a map does with each item."""
    return -value


def total(array: Any) -> float:
    """The sum of an array."""
    return float(array.sum())


def spin(steps: int) -> int:
    """Pure Python for so many steps; the last number proves that all were taken."""
    number = 1
    for _ in range(steps):
        number = (LCG_A * number + LCG_C) % LCG_M
    return number


def pid_after(seconds: float) -> int:
    """The process, which has no time for another call meanwhile."""
    time.sleep(seconds)
    return os.getpid()


def nap(seconds: float, value: int) -> int:
    """A call that is still running, or waiting, when another one is killed."""
    time.sleep(seconds)
    return value


def die_after(seconds: float) -> None:
    """What the kernel does to a process when memory runs out."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def note_and_work(folder: str) -> None:
    """Compute for BUSY_S, after a note that it has begun: a file whose name is the process."""
    (Path(folder) / str(os.getpid())).touch()
    work_for(BUSY_S)


def work_for(seconds: float) -> int:
    """Pure Python for so long; the process in which it ran."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        spin(10_000)
    return os.getpid()
