"""When jobs ran: each run appends eight bytes, its time in nanoseconds since 1970, to one file.

The same for every library, so none is measured by its own bookkeeping. An append of 2 µs is all that the
measured job does. The clock is the machine's, so times of different processes compare.
"""

import os
import time
from array import array
from functools import cache
from pathlib import Path

from benchmarks.apps import place

STAMP_BYTES = 8


def stamp() -> None:
    """Note that a job runs now."""
    os.write(_file(), array("q", [time.time_ns()]).tobytes())


@cache
def _file() -> int:
    # O_APPEND makes each small write atomic, whichever process it comes from.
    return os.open(_path(place.folder()), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def count(folder: Path) -> int:
    """How many jobs have run."""
    try:
        return _path(folder).stat().st_size // STAMP_BYTES
    except FileNotFoundError:
        return 0


def read(folder: Path) -> "array[int]":
    """The time of each run, in nanoseconds since 1970, in the order of the runs."""
    return array("q", _path(folder).read_bytes())


def _path(folder: Path) -> Path:
    return folder / "stamps"
