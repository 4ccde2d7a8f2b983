"""Waiting for a change of a PostgreSQL database: told by NOTIFY, and found by looking where nobody tells.

One connection and one thread of a process listen for all who wait there. A waiter that was told looks again
20 ms later, then after twice as long, and so on up to 2 s: what is written soon after a NOTIFY does not
NOTIFY again (see `postgres_server`). So does one that nobody tells: with `postgres_listen` off, while the
server is away, or where the writer's NOTIFY is off.
"""

import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from treadle.clock import Clock, SystemClock
from treadle.errors import StoreError
from treadle.store.contract import Wakeup
from treadle.store.postgres_errors import explained
from treadle.store.postgres_server import CONNECT_TIMEOUT_S, Connection, PostgresServer, Session

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 2.0
"""Between looks while nothing tells of a change; each pause is twice as long as the one before."""
ASK_EVERY_S = 30.0
"""How often who listens asks whether the server is there: a proxy that hangs would keep silent for ever."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Between tries to listen while the server is away."""


class _Bell:
    """Rung by any thread or signal handler, waited for by one thread."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may ring in the middle of a close.
        self._closing = threading.RLock()
        self._is_closed = False
        self.fd, self._striker = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._striker, False)

    def ring(self) -> None:
        # Under the lock, since a closed descriptor's number may be somebody else's file by now.
        with self._closing, contextlib.suppress(BlockingIOError):
            if not self._is_closed:
                os.write(self._striker, b"!")

    def heard(self, timeout_s: float, *, also: int | None = None) -> bool:
        """Whether it rang within this time, or before; returns early where `also` can be read."""
        poll = select.poll()
        for fd in (self.fd, also):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        rang = self.fd in {fd for fd, _ in poll.poll(timeout_s * 1000)}
        with contextlib.suppress(BlockingIOError):
            while rang and os.read(self.fd, 65536):
                pass
        return rang

    def close(self) -> None:
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                os.close(self.fd)
                os.close(self._striker)


class Listener:
    """Hears of changes for a process: on one connection, from the first waiter on until `close`."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._forget()
        _listeners.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._waiters: WeakSet[PostgresWakeup] = WeakSet()
        self._hearing: _Hearing | None = None

    def add(self, waiter: "PostgresWakeup") -> None:
        """Tell this one, too, from now on; waits until the first try to listen has come to an end."""
        with self._lock:
            self._waiters.add(waiter)
            if self._hearing is None:
                self._hearing = _Hearing(self._server, self._tell)
            hearing = self._hearing
        hearing.has_tried.wait(CONNECT_TIMEOUT_S)

    def remove(self, waiter: "PostgresWakeup") -> None:
        with self._lock:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Listen no more; a later waiter begins anew."""
        with self._lock:
            hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.close()

    def _tell(self) -> None:
        with self._lock:
            waiters = tuple(self._waiters)
        for waiter in waiters:
            waiter.wake()


class _Hearing:
    """A thread with a connection, which it makes anew where that is lost."""

    def __init__(self, server: PostgresServer, tell: Callable[[], None]) -> None:
        self._server = server
        self._tell = tell
        self._bell = _Bell()
        self._is_stopped = False
        self.has_tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="treadle-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_stopped = True
        self._bell.ring()
        self._thread.join()
        self._bell.close()

    def _run(self) -> None:
        pause_s = FIRST_RETRY_S
        while not self._is_stopped:
            with contextlib.suppress(StoreError), contextlib.closing(self._server.connect()) as connection:
                Session(connection, self._server.where).run("LISTEN treadle")
                pause_s = FIRST_RETRY_S
                if self.has_tried.is_set():
                    self._tell()  # What has changed while nobody listened.
                self.has_tried.set()
                self._listen(connection)
            self.has_tried.set()
            if not self._is_stopped:
                self._bell.heard(pause_s)
                pause_s = min(pause_s * 2, LONGEST_RETRY_S)

    def _listen(self, connection: Connection) -> None:
        with explained(self._server.where):
            while not self._is_stopped:
                self._bell.heard(ASK_EVERY_S, also=connection.fileno())
                if _was_told(connection) or self._is_stopped:
                    self._tell()
                    continue
                connection.execute("LISTEN treadle")  # Once more: any statement would do.
                if _was_told(connection):  # While it was asked.
                    self._tell()


def _was_told(connection: Connection) -> bool:
    return bool(list(connection.notifies(timeout=0)))


class PostgresWakeup(Wakeup):
    """One waiter."""

    def __init__(self, listener: Listener | None, clock: Clock | None = None) -> None:
        """`listener`: None to look only."""
        self._clock = clock or SystemClock()
        self._bell = _Bell()
        self._pause_s = FIRST_PAUSE_S
        self._looked_s: float | None = None
        self._listener = listener
        if listener is not None:
            listener.add(self)

    def wait(self, timeout_s: float) -> bool:
        now_s = self._clock.monotonic_s()
        if self._looked_s is None:
            self._looked_s = now_s
        due_in_s = max(0.0, self._looked_s + self._pause_s - now_s)
        if self._bell.heard(min(timeout_s, due_in_s)):
            self._looked(FIRST_PAUSE_S)
            return True
        if timeout_s < due_in_s:
            return False
        self._looked(min(self._pause_s * 2, LONGEST_PAUSE_S))
        return True

    def _looked(self, next_pause_s: float) -> None:
        """Whoever waited looks now."""
        self._looked_s = self._clock.monotonic_s()
        self._pause_s = next_pause_s

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.remove(self)
        self._bell.close()


_listeners: "WeakSet[Listener]" = WeakSet()
_left_alone: list[Any] = []


def _forget_after_fork() -> None:
    # The thread did not come along, and its connection is the parent's.
    for listener in _listeners:
        _left_alone.append((listener._waiters, listener._hearing))
        listener._forget()


os.register_at_fork(after_in_child=_forget_after_fork)
