"""Memory that large values travel in: segments, which are files without a name, mapped by both sides.

A value is pickled with its buffers apart (protocol 5), copied into a segment, and read where it lies. The owner keeps
segments for reuse: copying 100 MB into a warm one takes as long as any copy, into a new one three times as long, for
the kernel must find and clear its pages first.

What is authoritative: whoever writes to a segment may do so only while nobody else looks into it. A child says with the
end of a task whether anything of the task's segment is still in use (`mappings.py`), and the owner watches what it made
of a result with a weak reference. Only then does the segment go back to the free ones; else it is retired: closed here,
and gone when its last reader is.

    free ──pack──► lent to a child ──nothing looks into it──► free
      │                 └── something is still held ──► retired
      └── unused for a while ──► closed

The other way, a child makes a segment for a large result and hands it over; the owner adopts it, and it is free when
the result is gone. A child whose last result was large is lent a free one as a *spare*, and fills that instead. Nothing
of this has a name, so nothing is left in /dev/shm, whoever is killed.
"""

import itertools
import mmap
import os
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable
from pickle import PickleBuffer
from typing import NamedTuple

OUT_OF_BAND_BYTES = 128 * 1024
"""Smaller buffers stay in the pickle, where they cost less than a mapping."""
KEEP_FREE_S = 5.0
"""A segment that was not used for so long is closed: warm memory is memory all the same."""
TOO_LONG_S = 0.1
"""The lock of an arena is held for less. Who has it is this very thread, then: this is a finalizer, in the middle of that."""
_COPY_BYTES = 4 * 1024 * 1024
"""Copied at once; between two copies other threads may have the GIL."""
_ALIGNMENT = 64
_PAGE = mmap.ALLOCATIONGRANULARITY
_numbers = itertools.count(1)


class Part(NamedTuple):
    """Where a buffer lies in a segment."""

    offset: int
    length: int
    is_read_only: bool


class Segment:
    """A file without a name, as its writer has it mapped."""

    __slots__ = ("__weakref__", "fd", "memory", "number", "size", "used_s")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.number = next(_numbers)
        """Its name between an owner and those children to which it was introduced."""
        self.size = size
        self.memory: mmap.mmap | None = None
        self.used_s = 0.0

    @classmethod
    def new(cls, size: int) -> "Segment":
        size = max(_PAGE, -(-size // _PAGE) * _PAGE)
        fd = nameless_file()
        os.ftruncate(fd, size)
        return cls(fd, size)

    @classmethod
    def received(cls, fd: int) -> "Segment":
        """One that a child has made."""
        return cls(fd, os.fstat(fd).st_size)

    def write(self, buffers: Iterable[memoryview]) -> tuple[Part, ...]:
        """Copy buffers into it, one after the other."""
        if self.memory is None:
            self.memory = mmap.mmap(self.fd, self.size)
        return write(self.memory, buffers)

    def close(self) -> None:
        """Let go of it here; who else has it mapped keeps its memory."""
        if self.memory is not None:
            self.memory.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    __del__ = close


class Arena:
    """The segments of one owner."""

    def __init__(self, most_free: int = 2) -> None:
        """`most_free`: how many free segments to keep at most; more than can be lent at once are of no use."""
        self._most_free = most_free
        self._free: list[Segment] = []
        self._lock = threading.Lock()
        # Filled by finalizers, which may run in the middle of anything, and under the crew's lock: so without ours.
        self._given_back: deque[Segment] = deque()
        self._watched: dict[int, weakref.ref[mmap.mmap]] = {}
        self._is_closed = False

    def pack(self, buffers: list[memoryview]) -> tuple[Segment, tuple[Part, ...]]:
        """Copy buffers into a segment of their own. Raises OSError where there is no memory for it."""
        segment = self._take(packed_size(buffers))
        try:
            return segment, segment.write(buffers)
        except BaseException:
            segment.close()
            raise

    def _take(self, size: int) -> Segment:
        return self._take_free(size, TOO_LONG_S) or Segment.new(size)

    def take_spare(self, size: int) -> Segment | None:
        """A free segment of about this size; None where there is none, or where another looks for one just now.

        It does not wait: who asks holds the crew's lock, which a finalizer may want that runs while ours is held.
        """
        return self._take_free(size, 0.0)

    def _take_free(self, size: int, wait_s: float) -> Segment | None:
        if not self._lock.acquire(timeout=wait_s):
            return None
        try:
            self._collect()
            fitting = [segment for segment in self._free if fits(segment.size, size)]
            if not fitting:
                return None
            segment = min(fitting, key=lambda segment: segment.size)
            self._free.remove(segment)
            return segment
        finally:
            self._lock.release()

    def give_back(self, segment: Segment) -> None:
        """Nobody else looks into it any more."""
        if not self._is_closed:
            self._given_back.append(segment)

    def adopt(self, segment: Segment) -> mmap.mmap:
        """Map a segment that a child has filled; it is free when the mapping is gone."""
        memory = map_privately(segment.fd)
        key, forks = id(segment), _forks

        def collect(_: object) -> None:
            self._watched.pop(key, None)
            # A process that was forked meanwhile has the mapping still; what it has not touched would change there.
            if not self._is_closed and forks == _forks:
                self._given_back.append(segment)

        self._watched[key] = weakref.ref(memory, collect)
        return memory

    def trim(self) -> float | None:
        """Close what was not used for a while; returns in how many seconds to look again, None: never."""
        with self._lock:
            self._collect()
            now_s = time.monotonic()
            old = [s for s in self._free if now_s - s.used_s >= KEEP_FREE_S]
            self._free = [s for s in self._free if now_s - s.used_s < KEEP_FREE_S]
            next_s = min((s.used_s + KEEP_FREE_S - now_s for s in self._free), default=None)
            is_watching = bool(self._watched)
        for segment in old:
            segment.close()
        return KEEP_FREE_S if next_s is None and is_watching else next_s

    def _collect(self) -> None:
        while self._given_back:
            segment = self._given_back.popleft()
            segment.used_s = time.monotonic()
            self._free.append(segment)
        # Results bring a new segment each; those used last are kept.
        del self._free[: -self._most_free]

    def close(self) -> None:
        """Close what is free. What is still mapped by somebody is closed when that ends."""
        with self._lock:
            self._is_closed = True
            self._collect()
            free, self._free = self._free, []
        for segment in free:
            segment.close()


def write(memory: mmap.mmap, buffers: Iterable[memoryview]) -> tuple[Part, ...]:
    """Copy buffers into mapped memory, one after the other."""
    parts: list[Part] = []
    start = 0
    with memoryview(memory) as target:
        for buffer in buffers:
            _copy(target, start, buffer)
            parts.append(Part(start, buffer.nbytes, buffer.readonly))
            start = _aligned(start + buffer.nbytes)
    return tuple(parts)


def fits(available: int, size: int) -> bool:
    """Whether so many bytes lie well in a segment of this size: it is large enough, but no giant for a dwarf."""
    return size <= available <= 4 * size + OUT_OF_BAND_BYTES


def packed_size(buffers: Iterable[memoryview]) -> int:
    """How many bytes the buffers take in a segment."""
    return sum(_aligned(buffer.nbytes) for buffer in buffers)


def map_privately(fd: int) -> mmap.mmap:
    """A whole segment, for reading; what is written to the mapping stays in it."""
    return mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def views(whole: memoryview, parts: Iterable[Part]) -> list[memoryview]:
    """The buffers in a segment; each keeps alive what `whole` is a view of."""
    found = [whole[part.offset : part.offset + part.length] for part in parts]
    return [view.toreadonly() if part.is_read_only else view for view, part in zip(found, parts, strict=True)]


def is_large(buffer: PickleBuffer) -> bool:
    """Whether a buffer travels apart from its pickle."""
    try:
        return buffer.raw().nbytes >= OUT_OF_BAND_BYTES
    except BufferError:
        # Not contiguous: pickle copies it.
        return False


def _copy(target: memoryview, start: int, source: memoryview) -> None:
    for offset in range(0, source.nbytes, _COPY_BYTES):
        piece = source[offset : offset + _COPY_BYTES]
        target[start + offset : start + offset + piece.nbytes] = piece


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def nameless_file() -> int:
    """A descriptor of a new file that has no name anywhere, and so is gone with the last who has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("treadle", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_forks = 0
"""How often this process has forked."""


def _count_fork() -> None:
    global _forks  # noqa: PLW0603
    _forks += 1


os.register_at_fork(before=_count_fork)
