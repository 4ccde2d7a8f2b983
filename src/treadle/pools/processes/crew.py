"""The children of a pool, and the one thread that starts them, listens to them and sees them die.

What is authoritative: `_queue` holds the calls that no child was given; `Child.call` is the one call
that a child was given. Both change under `_lock` only. A call is in exactly one of these places until
its future is done.

    starting ──READY──► idle ──call──► busy ──RESULT | ERROR──► idle
        │                 │              │
      BROKEN            socket         death ──► its one call fails with WorkerCrashed
        ▼                ends
    the crew is broken    ▼
                         gone

* The thread that calls writes to an idle child by itself: no hop to a dispatcher.
* Death is told by a pidfd, not by the end of the socket, which a grandchild may hold open. What the
  child wrote before it died is read first, so a result that was sent is never lost.
* Children are started from the listening thread only, because the kernel's signal at the death of a
  parent is sent at the end of the *thread* that forked, and request threads end all the time.
* A child that cannot make itself ready breaks the crew: every waiting call fails with the reason.
"""

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any
from weakref import WeakSet

from treadle.errors import PoolBroken, Unpicklable, WorkerCrashed
from treadle.pools.contract import Reporter
from treadle.pools.processes import pickling
from treadle.pools.processes.channel import Channel, Frame, Kind
from treadle.pools.processes.launch import Recipe

PATIENCE_S = 2.0
MAX_DEATHS_AT_START = 3
"""So many children in a row that die before they are ready break the crew."""


class Call:
    """A function on its way: its frame, its future, and who wants to know."""

    __slots__ = ("body", "future", "has_begun", "id", "is_killed", "on_progress", "on_started")

    def __init__(
        self, body: bytes, on_started: Callable[[], None] | None = None, on_progress: Reporter | None = None
    ) -> None:
        self.id = 0
        self.body = body
        self.future: Future[Any] = Future()
        self.on_started = on_started
        self.on_progress = on_progress
        self.has_begun = False
        self.is_killed = False

    def begin(self) -> bool:
        """Whether it may run; False where it was cancelled in the queue."""
        if not self.has_begun:
            self.has_begun = self.future.set_running_or_notify_cancel()
            if self.has_begun and self.on_started:
                _safely(self.on_started)
        return self.has_begun


class Child:
    """A child process as its owner sees it."""

    __slots__ = ("call", "channel", "has_whole_call", "is_ready", "pidfd", "process", "sending")

    def __init__(self, process: "subprocess.Popen[bytes]", channel: Channel) -> None:
        self.process = process
        self.channel = channel
        self.pidfd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
        self.call: Call | None = None
        self.is_ready = False
        self.has_whole_call = False
        self.sending = threading.Lock()

    def assign(self, call: Call) -> None:
        self.call = call
        self.has_whole_call = False

    def give(self, call: Call) -> None:
        # A child that is gone will be found dead by the listener, who queues the call again: a child cannot
        # have begun a call whose frame it did not get to the end.
        with self.sending, contextlib.suppress(OSError):
            self.channel.send(Frame(Kind.CALL, call.id, call.body))
            self.has_whole_call = True

    def dismiss(self) -> None:
        """Let it end by itself, as it does when its socket ends."""
        self.channel.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> int | None:
        """Reap it and what it started; returns the exit code, negative for a signal, None if not known."""
        if self.call is None and self.is_ready:
            # Its own exit handlers may take a moment; what hangs is killed.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
        self.kill()
        code = self.process.wait()
        self.channel.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        return code


class Crew:
    """Up to `size` children, started when there is work for them."""

    def __init__(self, size: int, recipe: Recipe) -> None:
        self._size = size
        self._recipe = recipe
        self._forget()
        _crews.add(self)

    def _forget(self) -> None:
        """Begin anew, with nothing: at first, and in a forked process, whose children are not its own."""
        # Reentrant: the collector may close a dropped pool in the middle of anything.
        self._lock = threading.RLock()
        self._queue: deque[Call] = deque()
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._wanted = 0
        self._next_id = 0
        self._deaths_at_start = 0
        self._is_closing = False
        self._broken: BaseException | None = None
        self._listener: threading.Thread | None = None
        self._selector: selectors.BaseSelector | None = None
        self._woken = self._waker = -1

    @property
    def pids(self) -> list[int]:
        with self._lock:
            return [child.process.pid for child in self._children]

    @property
    def busy(self) -> int:
        with self._lock:
            return sum(child.call is not None for child in self._children)

    # The calling threads

    def submit(self, call: Call) -> None:
        """Give a call to an idle child, or queue it. Raises RuntimeError, or PoolBroken."""
        with self._lock:
            self._check_open()
            self._start_listener()
            self._next_id += 1
            call.id = self._next_id
            child = self._pick_idle()
            if child is None:
                self._queue.append(call)
                self._want_child()
                return
            child.assign(call)
        self._hand_over(child, call)

    def _check_open(self) -> None:
        if self._is_closing:
            raise RuntimeError("cannot call a function after the pool was shut down")
        if self._broken is not None:
            raise PoolBroken(f"the children of this pool cannot be started: {self._broken}") from self._broken

    def _pick_idle(self) -> Child | None:
        # The one that worked last has the warmest caches.
        return self._idle.pop() if self._idle and not self._queue else None

    def _want_child(self) -> None:
        starting = self._wanted + sum(not child.is_ready for child in self._children)
        if len(self._children) + self._wanted < self._size and starting < len(self._queue):
            self._wanted += 1
            self._wake()

    def _hand_over(self, child: Child, call: Call) -> None:
        if call.begin():
            child.give(call)
        else:
            self._give_next(child)

    def _give_next(self, child: Child) -> None:
        """Give an unoccupied child the first waiting call that was not cancelled, or let it rest."""
        while True:
            with self._lock:
                if not self._queue:
                    child.call = None
                    self._idle.append(child)
                    return
                call = self._queue.popleft()
                child.assign(call)
            if call.begin():
                child.give(call)
                return

    def kill(self, future: Future[Any]) -> bool:
        """End the call of a future: drop it from the queue, or kill the child that runs it."""
        if future.cancel():
            return True
        with self._lock:
            for child in self._children:
                # Under the lock, so that this child cannot be given another call before it dies.
                if child.call is not None and child.call.future is future:
                    child.call.is_killed = True
                    child.kill()
                    return True
        return False

    def close(self, *, wait: bool, cancel_queued: bool) -> None:
        with self._lock:
            self._is_closing = True
            abandoned = list(self._queue) if cancel_queued else []
            if cancel_queued:
                self._queue.clear()
            listener = self._listener
            self._wake()
        for call in abandoned:
            call.future.cancel()
            call.future.set_running_or_notify_cancel()
        if wait and listener is not None and listener is not threading.current_thread():
            listener.join()

    # The listening thread

    def _start_listener(self) -> None:
        if self._listener is None:
            self._selector = selectors.DefaultSelector()
            self._woken, self._waker = os.pipe()
            os.set_blocking(self._waker, False)
            self._selector.register(self._woken, selectors.EVENT_READ, None)
            self._listener = threading.Thread(target=self._listen, name="treadle-pool", daemon=True)
            self._listener.start()

    def _wake(self) -> None:
        if self._waker >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._waker, b"!")

    def _listen(self) -> None:
        selector = self._selector
        assert selector is not None
        try:
            while not self._is_done():
                for key, _ in selector.select():
                    if key.data is None:
                        os.read(self._woken, 4096)
                        self._start_wanted(selector)
                    else:
                        self._hear(selector, key.data, is_death=key.fd == key.data.pidfd)
        finally:
            self._end(selector)

    def _is_done(self) -> bool:
        with self._lock:
            is_busy = self._queue or any(child.call for child in self._children)
            return self._is_closing and not is_busy

    def _start_wanted(self, selector: selectors.BaseSelector) -> None:
        while self._wanted:
            try:
                child = Child(*self._recipe.start())
            except OSError as error:
                self._break(error)
                return
            with self._lock:
                # Counted as wanted until it is counted as a child: else a caller would want one more meanwhile.
                self._children.add(child)
                self._wanted -= 1
            selector.register(child.channel, selectors.EVENT_READ, child)
            if child.pidfd is not None:
                selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _hear(self, selector: selectors.BaseSelector, child: Child, *, is_death: bool) -> None:
        if child not in self._children:
            return  # Its socket and its pidfd both told of its death.
        try:
            # Dead or not, what it wrote comes first.
            for frame in child.channel.receive_waiting():
                self._take(child, frame)
        except EOFError:
            is_death = True
        if is_death:
            self._mourn(selector, child)

    def _take(self, child: Child, frame: Frame) -> None:
        call = child.call
        if frame.kind is Kind.READY:
            self._deaths_at_start = 0
            child.is_ready = True
            self._give_next(child)
        elif frame.kind is Kind.BROKEN:
            self._break(pickling.load(frame.body))
        elif call is None or call.is_killed:
            return
        elif frame.kind is Kind.PROGRESS:
            if call.on_progress:
                _safely(lambda report: report(pickling.load(frame.body)), call.on_progress)
        else:
            # The child first: it must not wait for what a callback of the future does.
            self._give_next(child)
            _conclude(call, frame)

    def _mourn(self, selector: selectors.BaseSelector, child: Child) -> None:
        """A child has died: fail its call, and see to it that the waiting ones find a child."""
        selector.unregister(child.channel)
        if child.pidfd is not None:
            selector.unregister(child.pidfd)
        # What it had forked may hold its end of the socket, and keep a caller waiting that writes to it.
        child.kill()
        with child.sending:
            code = child.bury()
        with self._lock:
            self._children.discard(child)
            if child in self._idle:
                self._idle.remove(child)
            call, child.call = child.call, None
            if call is not None and not child.has_whole_call and not call.is_killed:
                self._queue.appendleft(call)
                call = None
            self._deaths_at_start += not child.is_ready
            self._want_child()
        if call is not None:
            _fail(call, code)
        if self._deaths_at_start >= MAX_DEATHS_AT_START:
            self._break(WorkerCrashed(f"{MAX_DEATHS_AT_START} children died while starting, the last one {_how(code)}"))

    def _break(self, reason: BaseException) -> None:
        with self._lock:
            self._broken, self._wanted = reason, 0
            abandoned, self._queue = list(self._queue), deque()
        for call in abandoned:
            if call.future.set_running_or_notify_cancel():
                error = PoolBroken(f"the children of this pool cannot be started: {reason}")
                error.__cause__ = reason
                call.future.set_exception(error)

    def _end(self, selector: selectors.BaseSelector) -> None:
        with self._lock:
            self._is_closing = True
            children, self._children, self._idle = list(self._children), set(), []
            abandoned, self._queue = list(self._queue), deque()
            woken, waker = self._woken, self._waker
            self._woken = self._waker = -1
        for child in children:
            child.dismiss()
        for child in children:
            code = child.bury()
            if child.call is not None:
                _fail(child.call, code)
        for call in abandoned:
            call.future.cancel()
        selector.close()
        os.close(woken)
        os.close(waker)

    def close_inherited(self) -> None:
        """In a forked process: let go of what belongs to the parent, and begin anew."""
        for child in self._children:
            child.channel.close()
            child.process.returncode = 0  # Not ours to wait for.
            if child.pidfd is not None:
                os.close(child.pidfd)
        if self._selector is not None:
            self._selector.close()
            os.close(self._woken)
            os.close(self._waker)
        self._forget()


def _conclude(call: Call, frame: Frame) -> None:
    try:
        value = pickling.load(frame.body)
    except BaseException as error:
        unreadable = Unpicklable(f"what the function gave cannot be unpickled here: {error!r}")
        unreadable.__cause__ = error
        call.future.set_exception(unreadable)
        return
    if frame.kind is Kind.RESULT:
        call.future.set_result(value)
    else:
        call.future.set_exception(value)


def _fail(call: Call, code: int | None) -> None:
    if call.is_killed:
        call.future.set_exception(CancelledError("the call was killed"))
    else:
        call.future.set_exception(WorkerCrashed(f"the process that ran the call died: {_how(code)}", code))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _safely(callback: Callable[..., None], *args: Any) -> None:
    """A callback that raises must not end the thread that all calls depend on."""
    try:
        callback(*args)
    except Exception:
        logging.getLogger("treadle.pools").exception("a callback of a call raised")


_crews: "WeakSet[Crew]" = WeakSet()


def _forget_after_fork() -> None:
    for crew in _crews:
        crew.close_inherited()


os.register_at_fork(after_in_child=_forget_after_fork)
