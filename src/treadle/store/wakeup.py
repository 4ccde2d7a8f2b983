"""Waiting for a change of a SQLite file, in this process or another, without asking again and again.

Every commit writes to the `-wal` file, and inotify tells of that write just before the commit becomes
visible. So for a short while after an event we look, ever more slowly, at `PRAGMA data_version`, which
changes with each commit of another connection. From an insert to the waiter: 0.2 ms at the median, and
nothing is spent while nothing happens. Where there is no inotify (macOS) the look is repeated for ever.
"""

import contextlib
import ctypes
import os
import select
import sqlite3
import sys
import threading

from treadle.clock import Clock, SystemClock, sleep_s
from treadle.store.contract import Wakeup
from treadle.store.sqlite_file import SqliteFile, explained

IN_MODIFY = 0x2
LOOK_FOR_S = 0.02
"""After an event the commit it announced is visible within this time."""
SLEEP_BELOW_S = 0.001
"""poll() counts in whole milliseconds; a shorter pause is slept, out of reach of `wake`."""
FOREVER_S = 3600.0
POLL_S = 0.05
"""How often to look where nothing tells of changes."""


class SqliteWakeup(Wakeup):
    """Tells of commits to one SQLite file."""

    def __init__(self, file: SqliteFile, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        # Reentrant: a signal handler may wake in the middle of a close.
        self._closing = threading.RLock()
        self._closed = False
        self._event_s = -LOOK_FOR_S
        with explained(str(file.path)):
            self._connection = file.connect()
            self._version = self._data_version()
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if sys.platform == "linux" else _pipe()
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._watch = _watch(f"{file.path}-wal")
        if self._watch is not None:
            self._poll.register(self._watch, select.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        deadline_s = self._clock.monotonic_s() + timeout_s
        while not self._has_changed():
            now_s = self._clock.monotonic_s()
            left_s = max(0.0, deadline_s - now_s)
            if self._pause(min(left_s, self._patience_s(now_s - self._event_s))):
                return True
            if left_s == 0:
                return self._has_changed()
        return True

    def _patience_s(self, since_event_s: float) -> float:
        if since_event_s < LOOK_FOR_S:
            return max(0.0001, since_event_s / 2)
        return FOREVER_S if self._watch is not None else POLL_S

    def _pause(self, pause_s: float) -> bool:
        """Wait for an event or `wake`; returns whether it was `wake`."""
        if pause_s < SLEEP_BELOW_S:
            sleep_s(pause_s)
            pause_s = 0
        ready = {fd for fd, _ in self._poll.poll(pause_s * 1000)}
        if self._watch in ready:
            self._drain(self._watch)
            self._event_s = self._clock.monotonic_s()
        if self._woken in ready:
            self._drain(self._woken)
        return self._woken in ready

    def _has_changed(self) -> bool:
        version, before = self._data_version(), self._version
        self._version = version
        return version < 0 or version != before

    def _data_version(self) -> int:
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            # Whoever waits will look, and meet the same trouble where it can be told.
            sleep_s(POLL_S)
            return -1

    def _drain(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(fd, 65536):
                pass

    def wake(self) -> None:
        # Under the lock, since a closed descriptor's number may be somebody else's file by now.
        with self._closing, contextlib.suppress(BlockingIOError):
            if not self._closed:
                os.write(self._waker, b"!")

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            for fd in (self._woken, self._waker, self._watch):
                if fd is not None:
                    os.close(fd)


class LocalWakeup(Wakeup):
    """For a store that changes only in this process, and tells."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        woken = self._event.wait(timeout_s)
        self._event.clear()
        return woken

    def wake(self) -> None:
        self._event.set()

    def close(self) -> None:
        self._event.set()


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def _watch(path: str) -> int | None:
    """An inotify descriptor that becomes readable when the file is written, or None where there is none."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        # The user's limit of inotify instances is reached: poll instead.
        return None
    if libc.inotify_add_watch(fd, os.fsencode(path), IN_MODIFY) < 0:
        os.close(fd)
        return None
    return int(fd)
