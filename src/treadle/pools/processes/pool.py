"""`ProcessPool`: an Executor whose functions run in warm child processes, on every core."""

import asyncio
import atexit
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from treadle.cores import usable_cores
from treadle.errors import Unpicklable
from treadle.pools import bounds, current
from treadle.pools.bounds import WhenFull
from treadle.pools.contract import Limits, Pool, Reporter
from treadle.pools.inline import InlinePool
from treadle.pools.processes import limits as limits_
from treadle.pools.processes.call import Call
from treadle.pools.processes.crew import Crew
from treadle.pools.processes.functions import Functions
from treadle.pools.processes.launch import Recipe, find_python
from treadle.pools.processes.mapping import MapRun, run_chunk, run_star_chunk
from treadle.pools.processes.nursery import Rules
from treadle.pools.processes.pickling import dump, pack_call
from treadle.pools.stats import Stats


class ProcessPool(Pool, Executor):
    """Runs functions in child processes that stay warm; nothing starts before the first call.

    A child that dies fails only the call that it ran (WorkerCrashed); the pool serves on. Children end
    with this process, however it ends. `Future.cancel` of a call that runs kills the child that runs it,
    and so do limits. Large arrays travel without a copy in between. Inside a child every pool runs inline,
    so nested use is safe.

        with ProcessPool() as pool:
            list(pool.map(f, xs))
            pool.call(f, (x,), timeout_s=2).result()
    """

    in_process = False

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        preload: Iterable[str] = (),
        max_queue: int | None = None,
        when_full: WhenFull = "raise",
        nice: int = 10,
        recycle_after_tasks: int | None = None,
        recycle_over_rss_mb: float | None = None,
        idle_timeout_s: float | None = 60.0,
        python: str | None = None,
        held_fds: tuple[int, ...] = (),
    ) -> None:
        """`max_workers`: the usable cores where None. `initializer(*initargs)` runs once in each child.

        `preload`: modules (`package.module`), or functions to be called (`module:function()`), that are
        imported once, before children are forked; they must neither start threads nor leave sockets or
        databases open (else children start without them, with a warning). Where the import fails no child is
        started, but for a name that ends in `?` children start without it.
        `max_queue`: how many calls may wait; when so many do, `when_full` says whether a further one
        raises QueueFull, waits for room, or runs in the caller (QueueFull where it has limits, which cannot be
        kept there). `nice`: how much the children stand back
        behind this process, 0 to 19; unless it is 0 they take longer turns too (see `turns.py`). A child is replaced after `recycle_after_tasks` calls, or when it
        has more than `recycle_over_rss_mb` MB in memory, not counting arrays on their way, and leaves after `idle_timeout_s` seconds
        without work (None: never). `python`: their interpreter, where `sys.executable` is not one.
        `held_fds`: descriptors that each child keeps open as long as it lives.

        Raises ValueError for a number that is too small, Unpicklable for an initializer that cannot travel.
        """
        _check_positive(max_workers=max_workers, recycle_after_tasks=recycle_after_tasks,
                        recycle_over_rss_mb=recycle_over_rss_mb, idle_timeout_s=idle_timeout_s)  # fmt: skip
        bounds.check(max_queue, when_full)
        self._size = max_workers or usable_cores()
        self._max_queue = max_queue
        self._when_full = when_full
        self._functions = Functions()
        first_call = dump((initializer, initargs) if initializer else None, "the initializer")
        recipe = Recipe(find_python(python), nice, tuple(preload), tuple(held_fds), first_call)
        self._crew = Crew(self._size, recipe, Rules(recycle_after_tasks, recycle_over_rss_mb, idle_timeout_s))
        weakref.finalize(self, self._crew.close, wait=False, cancel_queued=False).atexit = False
        _crews.add(self._crew)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a child; what the future can give stands in `treadle.pools.contract`.

        Raises RuntimeError after `shutdown`, PoolBroken where no child can be started, QueueFull.
        """
        if current.is_child or self._max_queue is not None:
            return self.call(fn, args, kwargs)
        try:
            call = self._new_call(fn, args, kwargs)
        except Unpicklable as error:
            return _failed(error)
        self._crew.submit(call)
        return call

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
        limits = Limits.of(timeout_s, memory_mb, cores)
        if current.is_child:
            return InlinePool().call(
                function, args, kwargs, timeout_s=timeout_s, memory_mb=memory_mb, cores=cores,
                on_started=on_started, on_progress=on_progress,
            )  # fmt: skip
        limits_.check(limits, self._size)
        try:
            call = self._new_call(function, args, dict(kwargs or {}))
        except Unpicklable as error:
            return _failed(error)
        call.limit(limits)
        call.on_started, call.on_progress = on_started, on_progress
        if self._crew.submit(call, self._max_queue, may_wait=self._when_full == "wait"):
            return call
        return bounds.overflow(
            self._max_queue, self._when_full, function, args, kwargs, limits=limits,
            on_started=on_started, on_progress=on_progress,
        )  # fmt: skip

    def _new_call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        entry = self._functions.find(function)
        return Call(self._crew, entry, pack_call(None if entry.number else function, args, kwargs))

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        """`fn` of each item, in order, as `concurrent.futures` does it.

        All items are read at once. They travel in chunks of `chunksize`; without it, of about 10 ms of
        work as measured. `timeout`: seconds from now until the last result, then TimeoutError. What `fn`
        raises is raised in its place; a crash fails one item, and the others of its chunk run again.
        Dropping the iterator cancels what has not started. `max_queue` does not count a map's chunks.
        """
        if current.is_child:
            return map(fn, *iterables)
        return self._map(fn, iterables, chunksize).values(timeout)

    def map_unordered(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], chunksize: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Index and result of each item, as they finish; otherwise like `map`."""
        if current.is_child:
            return enumerate(map(fn, *iterables))
        return self._map(fn, iterables, chunksize).pairs()

    async def amap(self, fn: Callable[..., Any], *iterables: Iterable[Any]) -> AsyncIterator[Any]:
        """`map` for `async for`: the event loop goes on meanwhile."""
        if current.is_child:
            for value in map(fn, *iterables):
                yield value
            return
        run = self._map(fn, iterables, None)
        found = run.lists(None)
        try:
            while (values := await asyncio.to_thread(next, found, None)) is not None:
                for value in values:
                    yield value
        finally:
            # Not `found.close()`: where this is cancelled, a thread still waits in it.
            run.abandon()

    def _map(self, fn: Callable[..., Any], iterables: Sequence[Iterable[Any]], chunksize: int | None) -> MapRun:
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, got {chunksize}")
        items: list[Any] = list(iterables[0]) if len(iterables) == 1 else list(zip(*iterables, strict=False))
        run = run_chunk if len(iterables) == 1 else run_star_chunk

        def send(chunk: Sequence[Any]) -> Call:
            call = self._new_call(run, (fn, chunk), {})
            self._crew.submit(call)
            return call

        map_run = MapRun(send, items, workers=self._size, chunksize=chunksize)
        self._crew.maps.add(map_run)
        return map_run

    def share(self, array: Any) -> Any:
        """A read-only copy of a NumPy array in shared memory.

        It, and any view of it, passed to a call of this or any pool of this process, costs no copy;
        there it is a read-only array. The memory is freed when it is used nowhere any more. Raises
        TypeError for what is no array, or an array of Python objects.
        """
        from treadle.pools.processes.shared import share

        return share(array)

    def kill(self, future: Future[Any]) -> bool:
        return future.cancel()

    def cancel_waiting(self, future: Future[Any]) -> bool:
        return future.cancel_if_waiting() if isinstance(future, Call) else future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._crew.close(wait=wait, cancel_queued=cancel_futures)

    def stats(self) -> Stats:
        """How the pool stands now."""
        return self._crew.stats()

    @property
    def max_workers(self) -> int:
        return self._size

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that live now."""
        return self._crew.pids


def _check_positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and number <= 0:
            raise ValueError(f"{name} must be greater than 0, got {number}")


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    future.set_exception(error)
    return future


_crews: "weakref.WeakSet[Crew]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At the end of the program calls that were taken are finished, as in concurrent.futures."""
    for crew in tuple(_crews):
        crew.close(wait=True, cancel_queued=False)
