"""Runs calls in threads of this process: several tasks at once where they wait (network, disk).

They share one GIL, so pure Python gains nothing here; and a thread cannot be killed. The threads are
daemons, unlike those of `concurrent.futures`: a stuck call must not keep a stopping process alive.
"""

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any
from weakref import WeakSet

from treadle.pools.contract import Limits, Pool, Reporter, reporting_to, run_into


class ThreadPool(Pool, Executor):
    """A pool of at most `max_workers` threads, each started when there is work for it."""

    in_process = True

    def __init__(self, max_workers: int = 8, *, name: str = "treadle") -> None:
        """Raises ValueError for `max_workers` < 1."""
        if max_workers < 1:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        self._max_workers = max_workers
        self._name = name
        self._is_shut_down = False
        self._begin_anew()
        _pools.add(self)

    def _begin_anew(self) -> None:
        """With no threads: at first, and in a forked process, where they did not come along."""
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._waiting: deque[tuple[Future[Any], Callable[[], None]]] = deque()
        self._changed = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
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
        future: Future[Any] = Future()

        def run() -> None:
            if on_started:
                on_started()
            with reporting_to(on_progress):
                run_into(future, function, args, kwargs or {})

        with self._changed:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after the pool was shut down")
            self._waiting.append((future, run))
            if self._idle < len(self._waiting) and len(self._threads) < self._max_workers:
                self._start_thread()
            self._changed.notify()
        return future

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting or self._is_shut_down)
                self._idle -= 1
                if not self._waiting:
                    return
                future, run = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                # Each call in a context of its own: what one sets, the next must not see.
                contextvars.Context().run(run)
            del future, run

    def kill(self, future: Future[Any]) -> bool:
        return future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._changed:
            self._is_shut_down = True
            abandoned = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._changed.notify_all()
        for future, _ in abandoned:
            future.cancel()
            future.set_running_or_notify_cancel()
        if wait:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join()


_pools: "WeakSet[ThreadPool]" = WeakSet()


def _forget_after_fork() -> None:
    for pool in _pools:
        pool._begin_anew()


os.register_at_fork(after_in_child=_forget_after_fork)
