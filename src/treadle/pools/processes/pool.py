"""`ProcessPool`: an Executor whose functions run in warm child processes, on every core."""

import atexit
import itertools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Executor, Future
from typing import Any

from treadle.cores import usable_cores
from treadle.errors import Unpicklable
from treadle.pools import current
from treadle.pools.contract import Pool, Reporter
from treadle.pools.inline import InlinePool
from treadle.pools.processes import pickling
from treadle.pools.processes.crew import Call, Crew
from treadle.pools.processes.launch import recipe

CHUNKS_PER_CHILD = 8
"""How many shares of a `map` each child gets where no chunksize is given: enough to level out."""


class ProcessPool(Pool, Executor):
    """Runs functions in child processes that stay warm; nothing starts before the first call.

    A child that dies fails only the call that it ran (WorkerCrashed); the pool serves on. Children end
    with this process, however it ends. Inside a child every pool runs inline, so nested use is safe.
    """

    in_process = False

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        nice: int = 5,
        python: str | None = None,
        held_fds: tuple[int, ...] = (),
    ) -> None:
        """`max_workers`: the usable cores where None. `initializer(*initargs)` runs once in each child.

        `nice`: how much the children stand back behind this process, 0 to 19. `python`: their
        interpreter, where `sys.executable` is not one. `held_fds`: descriptors that each child keeps
        open as long as it lives. Raises ValueError for `max_workers` < 1, Unpicklable for an
        initializer that cannot travel.
        """
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, got {max_workers}")
        self._size = max_workers or usable_cores()
        how = recipe(python=python, nice=nice, initializer=initializer, initargs=initargs, held_fds=held_fds)
        self._crew = Crew(self._size, how)
        weakref.finalize(self, self._crew.close, wait=False, cancel_queued=False).atexit = False
        _crews.add(self._crew)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a child; what the future can give stands in `treadle.pools.contract`."""
        return self.call(fn, args, kwargs)

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        on_started: Callable[[], None] | None = None,
        on_progress: Reporter | None = None,
    ) -> Future[Any]:
        if current.is_child:
            return InlinePool().call(function, args, kwargs, on_started=on_started, on_progress=on_progress)
        try:
            body = pickling.dump_call(function, args, kwargs or {})
        except Unpicklable as error:
            return _failed(error)
        call = Call(body, on_started, on_progress)
        self._crew.submit(call)
        return call.future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        """`fn` of each item, in order, as `concurrent.futures` does it.

        All items are read at once and sent in chunks of `chunksize`, by default so many that each child
        gets several. `timeout`: seconds from now until the last result, then TimeoutError.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, got {chunksize}")
        items = list(zip(*iterables, strict=False))
        size = chunksize or self._good_chunk(items)
        deadline_s = None if timeout is None else time.monotonic() + timeout
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        futures = [self.submit(_run_chunk, fn, chunk) for chunk in chunks]
        return _results(futures, deadline_s)

    def _good_chunk(self, items: Sized) -> int:
        return max(1, len(items) // (self._size * CHUNKS_PER_CHILD))

    def kill(self, future: Future[Any]) -> bool:
        return self._crew.kill(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._crew.close(wait=wait, cancel_queued=cancel_futures)

    @property
    def max_workers(self) -> int:
        return self._size

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that live now."""
        return self._crew.pids


def _run_chunk(function: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    return list(itertools.starmap(function, chunk))


def _results(futures: list[Future[Any]], deadline_s: float | None) -> Iterator[Any]:
    futures.reverse()
    try:
        while futures:
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            results = futures[-1].result(left_s)
            futures.pop()
            yield from results
    finally:
        # An abandoned iterator, or one that raised: nobody will ask for the rest.
        for future in futures:
            future.cancel()


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
