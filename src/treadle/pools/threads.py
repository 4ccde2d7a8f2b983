"""Runs calls in threads of this process: several tasks at once where they wait (network, disk).

They share one GIL, so pure Python gains nothing here, unless the build is free-threaded; and a thread cannot be
killed. The threads are daemons, unlike those of `concurrent.futures`: a stuck call must not keep a stopping process
alive.
"""

import asyncio
import contextvars
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any
from weakref import WeakSet

from treadle.pools import bounds
from treadle.pools.bounds import WhenFull
from treadle.pools.contract import Limits, Pool, Reporter, reporting_to, run_into
from treadle.pools.stats import Histogram, Stats


class ThreadPool(Pool, Executor):
    """A pool of at most `max_workers` threads, each started when there is work for it.

    It has the verbs of ProcessPool, but for what only a process can be held to: `kill` and `Future.cancel` end what
    waits and never what runs, and a call with a limit raises LimitNotKept.
    """

    in_process = True

    def __init__(
        self,
        max_workers: int = 8,
        *,
        name: str = "treadle",
        max_queue: int | None = None,
        when_full: WhenFull = "raise",
    ) -> None:
        """`max_queue`: how many calls may wait; when so many do, `when_full` says whether a further one raises
        QueueFull, waits for room, or runs in the caller. A thread of the pool never waits for room: it runs the call.

        Raises ValueError for a number below 1, or another `when_full`.
        """
        if max_workers < 1:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        bounds.check(max_queue, when_full)
        self._max_workers = max_workers
        self._name = name
        self._max_queue = max_queue
        self._when_full = when_full
        self._is_shut_down = False
        self._begin_anew()
        _pools.add(self)

    def _begin_anew(self) -> None:
        """With no threads: at first, and in a forked process, where they did not come along."""
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._busy = 0
        self._done_count = 0
        self._waits, self._runs = Histogram(), Histogram()
        # In the order of the calls; and one that is cancelled is taken out at once, wherever it stands.
        self._waiting: OrderedDict[_ThreadCall, None] = OrderedDict()
        self._lock = threading.RLock()
        self._has_work = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a thread. Raises RuntimeError after `shutdown`, QueueFull."""
        return self.call(fn, args, kwargs)

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        memory_mb: float | None = None,
        cores: int | None = None,
        on_started: Callable[[], None] | None = None,
        on_progress: Reporter | None = None,
    ) -> Future[Any]:
        Limits(timeout_s, memory_mb, cores).refuse(
            "ThreadPool", "a thread can neither be ended nor measured from outside"
        )
        call = _ThreadCall(self, function, args, kwargs or {}, on_started, on_progress)
        with self._lock:
            if self._makes_room():
                self._add(call)
                return call
        return bounds.overflow(
            self._max_queue, "run" if self._when_full == "wait" else self._when_full, function, args, kwargs,
            on_started=on_started, on_progress=on_progress,
        )  # fmt: skip

    def _makes_room(self) -> bool:
        """Whether one more call may wait; where that was chosen, once it may."""
        while self._max_queue is not None and len(self._waiting) >= self._max_queue and not self._is_shut_down:
            # If all threads of the pool waited for room, nobody would make it.
            if self._when_full != "wait" or threading.current_thread() in self._threads:
                return False
            self._has_room.wait()
        return True

    def _add(self, call: "_ThreadCall") -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after the pool was shut down")
        self._waiting[call] = None
        if self._idle < len(self._waiting) and len(self._threads) < self._max_workers:
            self._start_thread()
        self._has_work.notify()

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            # Each call in a context of its own: what one sets, the next must not see.
            contextvars.Context().run(call.run)
            del call

    def _next(self) -> "_ThreadCall | None":
        """The next call, which is running from here on; None when there will be none."""
        while True:
            with self._lock:
                self._idle += 1
                self._has_work.wait_for(lambda: self._waiting or self._is_shut_down)
                self._idle -= 1
                if not self._waiting:
                    return None
                call, _ = self._waiting.popitem(last=False)
                self._has_room.notify()
                if call.set_running_or_notify_cancel():
                    self._busy += 1
                    self._waits.add(time.monotonic() - call.sent_s)
                    return call

    def ended(self, seconds: float) -> None:
        """A call that ran has come to its end, which it will tell next."""
        with self._lock:
            self._busy -= 1
            self._done_count += 1
            self._runs.add(seconds)

    def take_out(self, call: "_ThreadCall") -> bool:
        """Drop a call that was cancelled; False where a thread has taken it already."""
        with self._lock:
            if call not in self._waiting:
                return False
            del self._waiting[call]
            self._has_room.notify()
            return True

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        """`fn` of each item, in order, as `concurrent.futures` does it.

        All items are read at once. `timeout`: seconds from now until the last result, then TimeoutError. What `fn`
        raises is raised in its place. Dropping the iterator cancels what has not started. `max_queue` does not count
        a map's items. `chunksize` is of no effect in threads, whose arguments do not travel.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        return _values(self._send_all(fn, iterables), deadline_s)

    def map_unordered(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], chunksize: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Index and result of each item, as they finish; otherwise like `map`."""
        return _pairs(self._send_all(fn, iterables))

    async def amap(self, fn: Callable[..., Any], *iterables: Iterable[Any]) -> AsyncIterator[Any]:
        """`map` for `async for`: the event loop goes on meanwhile."""
        calls = self._send_all(fn, iterables)
        try:
            for call in calls:
                yield await asyncio.wrap_future(call)
        finally:
            _cancel(calls)

    def _send_all(self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...]) -> "list[_ThreadCall]":
        calls = [_ThreadCall(self, fn, args, {}) for args in zip(*iterables, strict=False)]
        with self._lock:
            for call in calls:
                self._add(call)
        return calls

    def share(self, array: Any) -> Any:
        """A read-only copy of a NumPy array, as `ProcessPool.share` makes it; it costs nothing in any pool.

        Raises TypeError for what is no array, or an array of Python objects.
        """
        from treadle.pools.processes.shared import share

        return share(array)

    def kill(self, future: Future[Any]) -> bool:
        return future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._is_shut_down = True
            abandoned = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._has_work.notify_all()
            self._has_room.notify_all()
        for call in abandoned:
            call.cancel()
            call.set_running_or_notify_cancel()
        if wait:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join()

    def stats(self) -> Stats:
        """How the pool stands now; its workers are threads."""
        with self._lock:
            return Stats(
                workers=sum(thread.is_alive() for thread in self._threads),
                busy=self._busy,
                queued=len(self._waiting),
                done=self._done_count,
                restarts=0,
                wait_s=self._waits.snapshot(),
                run_s=self._runs.snapshot(),
            )

    @property
    def max_workers(self) -> int:
        return self._max_workers


class _ThreadCall(Future[Any]):
    """A function on its way to a thread, and the future of what it gives."""

    def __init__(
        self,
        pool: ThreadPool,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        on_started: Callable[[], None] | None = None,
        on_progress: Reporter | None = None,
    ) -> None:
        super().__init__()
        self.sent_s = time.monotonic()
        self._pool = pool
        self._step = function, args, kwargs
        self._on_started = on_started
        self._on_progress = on_progress

    def run(self) -> None:
        """In a thread of the pool, which has made it running."""
        function, args, kwargs = self._step
        # Who keeps the future does not keep the arguments.
        del self._step
        if self._on_started:
            self._on_started()
        with reporting_to(self._on_progress):
            run_into(self, self._measured, (function, args, kwargs), {})

    def _measured(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        started_s = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            self._pool.ended(time.perf_counter() - started_s)

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        if self._pool.take_out(self):
            # This tells `wait` and `as_completed`; else the thread that has taken it does.
            self.set_running_or_notify_cancel()
        return True


def _values(calls: list[_ThreadCall], deadline_s: float | None) -> Iterator[Any]:
    calls.reverse()
    try:
        while calls:
            yield calls[-1].result(None if deadline_s is None else deadline_s - time.monotonic())
            # What was given is not kept.
            calls.pop()
    finally:
        _cancel(calls)


def _pairs(calls: list[_ThreadCall]) -> Iterator[tuple[int, Any]]:
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    numbers: dict[Future[Any], int] = {call: number for number, call in enumerate(calls)}
    for call in calls:
        call.add_done_callback(ended.put)
    # What was given is not kept.
    calls.clear()
    try:
        while numbers:
            done = ended.get()
            yield numbers.pop(done), done.result()
    finally:
        _cancel(numbers)


def _cancel(calls: Iterable[Future[Any]]) -> None:
    for call in calls:
        call.cancel()


_pools: "WeakSet[ThreadPool]" = WeakSet()


def _forget_after_fork() -> None:
    for pool in _pools:
        pool._begin_anew()


os.register_at_fork(after_in_child=_forget_after_fork)
