"""The one thread of a pool in its owner: it reads what children and zygote say, and does what is due.

The zygote is started from it, and not from a thread that calls: those end all the time, and the kernel's signal at the
death of a parent is sent at the end of the *thread* that made the child.
"""

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from math import ceil
from typing import Protocol

LONGEST_WAIT_S = 3600.0
"""More than a few weeks would be no number of milliseconds that the kernel takes."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Listener:
    """A thread that waits for files to become readable, and for time to pass."""

    def __init__(self, tick: "Callable[[Listener], float | None]", despair: Callable[[BaseException], None]) -> None:
        """`tick` is called between waits; it returns how many seconds the next one may last, None: for ever.

        `despair` is called when it, or a handler, has raised, which none of them should; then the thread ends.
        """
        self._tick = tick
        self._despair = despair
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], object]] = {}
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._handlers[self._woken] = self._wake_up
        self._poll.register(self._woken, select.POLLIN)
        self._is_over = False
        self._is_closed = False
        # A pipe's number may be another file's when the thread has ended. Reentrant, for the collector may close a
        # dropped pool in the middle of anything.
        self._closing = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="treadle-pool", daemon=True)

    @property
    def is_this_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if not self.is_this_thread:
            self._thread.join()

    def wake(self) -> None:
        """Have `tick` called soon."""
        with self._closing:
            if not self._is_closed:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._waker, b"!")

    def watch(self, file: HasFileno, handle: Callable[[], object]) -> None:
        """Call `handle` when the file can be read."""
        self._handlers[file.fileno()] = handle
        self._poll.register(file, select.POLLIN)

    def unwatch(self, file: HasFileno) -> None:
        """May be called again."""
        if self._handlers.pop(file.fileno(), None) is not None:
            self._poll.unregister(file)

    def end(self) -> None:
        """Called from `tick`: do not wait again."""
        self._is_over = True

    def abandon(self) -> None:
        """In a forked process, which the thread did not come along to."""
        if not self._is_closed:
            self._close()

    def _run(self) -> None:
        try:
            while not self._is_over:
                wait_s = self._tick(self)
                if not self._is_over:
                    self._listen(wait_s)
        except BaseException as error:
            logging.getLogger("treadle.pools").exception("the listener of a pool has failed")
            self._despair(error)
        with self._closing:
            self._close()

    def _close(self) -> None:
        # Once: by the next time the numbers may be other files'.
        self._is_closed = True
        os.close(self._woken)
        os.close(self._waker)

    def _listen(self, wait_s: float | None) -> None:
        for fd, _ in self._poll.poll(None if wait_s is None else ceil(min(wait_s, LONGEST_WAIT_S) * 1000)):
            # One handler may have ended the other's file.
            handle = self._handlers.get(fd)
            if handle is not None:
                handle()

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
