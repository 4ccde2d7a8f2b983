"""Runs async functions side by side in one event loop, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any

from treadle.pools.contract import Limits, Pool, Reporter, reporting_to


class CoroutinePool(Pool):
    """At most `max_tasks` coroutines at once; a call beyond them waits."""

    in_process = True

    def __init__(self, max_tasks: int = 100) -> None:
        """Raises ValueError for `max_tasks` < 1."""
        if max_tasks < 1:
            raise ValueError(f"max_tasks must be at least 1, got {max_tasks}")
        self._places = asyncio.Semaphore(max_tasks)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._futures: set[Future[Any]] = set()
        self._tasks: dict[Future[Any], asyncio.Task[None]] = {}
        self._is_shut_down = False
        self._lock = threading.Lock()

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
        Limits(timeout_s, memory_mb, cores).refuse("CoroutinePool", "a coroutine shares its thread with others")
        future: Future[Any] = Future()

        async def run() -> None:
            async with self._places:
                if not future.set_running_or_notify_cancel():
                    return
                if on_started:
                    on_started()
                with reporting_to(on_progress):
                    await _await_into(future, function, args, kwargs or {})

        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after the pool was shut down")
            self._futures.add(future)
            self._running_loop().call_soon_threadsafe(self._begin, future, run)
        future.add_done_callback(self._futures.discard)
        return future

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_run_and_close, args=(self._loop,), name="treadle-coroutines", daemon=True
            )
            self._thread.start()
        return self._loop

    def _begin(self, future: Future[Any], run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # The loop keeps only a weak reference to a task, so somebody else must keep it.
        task = self._tasks[future] = asyncio.get_running_loop().create_task(run())
        task.add_done_callback(lambda task: self._end(future))

    def _end(self, future: Future[Any]) -> None:
        self._tasks.pop(future, None)
        if not future.done():
            future.cancel()
            future.set_running_or_notify_cancel()

    def kill(self, future: Future[Any]) -> bool:
        """Cancel the coroutine at its next await."""
        task = self._tasks.get(future)
        if future.done() or task is None or self._loop is None:
            return future.cancel()
        self._loop.call_soon_threadsafe(task.cancel)
        return True

    def ask(self, answer: Callable[[], None]) -> bool:
        """Have `answer` called in the event loop once that is free; False where no loop was needed yet."""
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                return False
            self._loop.call_soon_threadsafe(answer)
            return True

    @property
    def held_by(self) -> Future[Any] | None:
        """The call whose code runs at this moment, and which alone can let the event loop go on."""
        current = asyncio.current_task(self._loop) if self._loop is not None else None
        # A copy: the loop's own thread changes it.
        return next((future for future, task in tuple(self._tasks.items()) if task is current), None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            is_first, self._is_shut_down = not self._is_shut_down, True
            loop, thread = self._loop, self._thread
        for future in tuple(self._futures) if cancel_futures else ():
            # Of no effect on what runs.
            future.cancel()
        if loop is None or thread is None:
            return
        if is_first:
            stopping = asyncio.run_coroutine_threadsafe(self._finish(), loop)
            stopping.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        if wait and thread is not threading.current_thread():
            thread.join()

    async def _finish(self) -> None:
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _run_and_close(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _await_into(
    future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    try:
        value = await function(*args, **kwargs)
    except asyncio.CancelledError:
        # The future speaks concurrent.futures, whose CancelledError is another class.
        future.set_exception(CancelledError("the coroutine was cancelled"))
        raise
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(value)
