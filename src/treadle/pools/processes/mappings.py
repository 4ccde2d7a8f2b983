"""In a child: the owner's segments that it has mapped, and what a task is lent of them.

A segment is introduced once, with its file, and named by its number from then on; its pages stay mapped between tasks,
for to map 100 MB anew costs as much as to sum it. A task's own segment is written by nobody else while the task has it,
so what the task writes to it is its own affair.
"""

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import Any

from treadle.pools.processes.arena import Part, fits, views
from treadle.pools.processes.pickling import load

_mapped: dict[int, mmap.mmap] = {}
_spare = 0


def learn(number: int, fd: int, *, is_shared: bool) -> None:
    """Map a segment that tasks will name; one that several may share is read-only."""
    _mapped[number] = mmap.mmap(fd, 0, prot=mmap.PROT_READ if is_shared else mmap.PROT_READ | mmap.PROT_WRITE)
    os.close(fd)


def forget(numbers: list[int]) -> None:
    """Nobody will name them again; what a task has kept of them stays."""
    for number in numbers:
        _mapped.pop(number, None)


def take_spare(size: int) -> mmap.mmap | None:
    """The memory that was lent for a result, if that fits; it is lent for one only."""
    global _spare  # noqa: PLW0603
    memory = _mapped.get(_spare)
    if memory is None or not fits(len(memory), size):
        return None
    _spare = 0
    return memory


def lend(number: int) -> None:
    """A segment that the next large result may lie in; 0: none, whatever was lent before."""
    global _spare  # noqa: PLW0603
    _spare = number


def mapped(number: int) -> mmap.mmap:
    return _mapped[number]


class Lent:
    """The segment of one task, for as long as anything of it is used.

    All that is made of it looks into one ctypes array, whose end a weak reference tells: an array, a slice, a cache, a
    traceback, whoever holds it. (NumPy takes views of its own, so to release a memoryview would prove nothing.)
    """

    def __init__(self, number: int) -> None:
        memory = _mapped[number]
        self._whole: Any = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._watch = weakref.ref(self._whole)

    def load(self, parts: Sequence[Part]) -> Any:
        """The value that lies there; may be called once."""
        whole = self._whole
        # From here on it lives as long as what was made of it.
        del self._whole
        *buffers, body = views(memoryview(whole).cast("B"), parts)
        return load(body, buffers)

    @property
    def is_held(self) -> bool:
        """Whether something still looks into it."""
        return self._watch() is not None
