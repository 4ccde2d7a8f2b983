"""Runs each call in the calling thread, before `call` returns."""

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from treadle.pools.contract import Limits, Pool, Reporter, reporting_to, run_into


class InlinePool(Pool):
    """No parallelism at all: for tests, and inside a child process."""

    in_process = True

    def __init__(self) -> None:
        self._is_shut_down = False

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
        Limits(timeout_s, memory_mb, cores).refuse("InlinePool", "the call runs in its caller")
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after the pool was shut down")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        if on_started:
            on_started()
        with reporting_to(on_progress):
            run_into(future, awaited(function), args, kwargs or {})
        return future

    def kill(self, future: Future[Any]) -> bool:
        return False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._is_shut_down = True


def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or one that runs an async function to its end and returns what it gives."""
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        return function

    def run(*args: Any, **kwargs: Any) -> Any:
        return run_coroutine(function(*args, **kwargs))

    return run


def run_coroutine(coroutine: Any) -> Any:
    """Run a coroutine to its end; in a thread of its own where this one has a running loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: Future[Any] = Future()
    outcome.set_running_or_notify_cancel()
    # In a copy of this context, so that what it reports goes where this call's reports go.
    run = functools.partial(contextvars.copy_context().run, run_into, outcome, asyncio.run, (coroutine,), {})
    threading.Thread(target=run, daemon=True).start()
    return outcome.result()
