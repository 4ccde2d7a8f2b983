"""Runs calls on any `concurrent.futures.Executor`: a pool of yours, under a name in the settings.

It can do what an executor can: a call that waits is cancelled, one that runs is not ended, and no limit is
kept. In a process of somebody else's pool a job has nobody to report to: progress and messages are lost.
"""

import functools
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

from treadle.pools.contract import Limits, Pool, Reporter, reporting_to
from treadle.pools.threads import ThreadPool

Prepare = tuple[Callable[..., Any], tuple[Any, ...]]


class ExecutorPool(Pool):
    """A pool on an executor that `make` gives; asked again where the executor has broken."""

    def __init__(self, make: Callable[[], Executor], prepare: Prepare) -> None:
        """`prepare`: what makes another process ready for its first call."""
        self._make = make
        self._prepare = prepare
        self._executor = make()
        self.in_process = isinstance(self._executor, ThreadPoolExecutor | ThreadPool)

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
        Limits(timeout_s, memory_mb, cores).refuse("an Executor", "it can neither end a call nor measure it")
        if self.in_process:
            return self._executor.submit(_run_here, on_started, on_progress, function, args, kwargs or {})
        # Pickled apart: what it holds can be read only in a process that is ready.
        data = pickle.dumps((function, args, kwargs or {}))
        future = self._submit(_run_there, self._prepare, data)
        if on_started:
            # No executor tells when a call starts. A worker hands over only what fits.
            on_started()
        return future

    def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        try:
            return self._executor.submit(function, *args)
        except BrokenExecutor:
            self._executor = self._make()
            return self._executor.submit(function, *args)

    def kill(self, future: Future[Any]) -> bool:
        return future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def _run_here(
    on_started: Callable[[], None] | None,
    on_progress: Reporter | None,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    if on_started:
        on_started()
    with reporting_to(on_progress):
        return function(*args, **kwargs)


def _run_there(prepare: Prepare, data: bytes) -> Any:
    _make_ready(*prepare)
    function, args, kwargs = pickle.loads(data)
    return function(*args, **kwargs)


@functools.cache
def _make_ready(make_ready: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Once a process."""
    make_ready(*args)
