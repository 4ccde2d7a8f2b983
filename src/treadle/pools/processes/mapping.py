"""One `map` on its way: its items in chunks, each a call, cut when a child will soon be free.

A chunk is about 10 ms of work by what the last ones took, and never more than a fair share of what is left, so the
chunks shrink towards the end and all children finish together; but never so small that to send it takes longer than
to run it. Results are lists, so an item costs no future.

A chunk whose child dies is run again item by item: only the item that kills fails.
"""

import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from queue import SimpleQueue
from typing import Any

from treadle.errors import PoolBroken, Unpicklable, Unreadable
from treadle.pools.processes import pickling
from treadle.pools.processes.call import Call
from treadle.pools.processes.future import LightFuture
from treadle.pools.processes.wire import Found

CHUNK_S = 0.01
LEAST_CHUNK_S = 0.0002
"""A million tiny calls end in forty chunks that shrink to one item without it, which takes a fifth of the whole time."""
MANY = 1000
"""So many values of one chunk are small, and are given as they lie there: to take each off costs five times as much."""
CHUNKS_PER_WORKER = 2
"""In flight at once: one runs, and one waits so that nobody idles."""


def run_chunk(function: Callable[..., Any], items: Sequence[Any]) -> Found:
    """In a child: the values, what ended them early, and how many seconds they took."""
    return _collect(function, map(function, items), len(items))


def run_star_chunk(function: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> Found:
    """The same, where each item holds several arguments."""
    return _collect(function, itertools.starmap(function, items), len(items))


def _collect(function: Callable[..., Any], results: Iterator[Any], count: int) -> Found:
    values: list[Any] = []
    error: BaseException | None = None
    started_s = time.perf_counter()
    try:
        values.extend(results)
        if len(values) < count:
            error = RuntimeError("the function raised StopIteration")
    except BaseException as raised:
        error = raised
    seconds = time.perf_counter() - started_s
    try:
        # Pickled apart: an error that cannot travel must not keep the values.
        return Found(values, pickling.dump_error(error) if error else None, seconds, pickling.name_of(function))
    finally:
        # No cycle of error, traceback and this frame: it would keep what the function had.
        del error


class Chunk:
    """Some of the items, and the call that runs them; a future that has failed where they could not be sent."""

    __slots__ = ("call", "items", "start")

    def __init__(self, start: int, items: Sequence[Any], call: LightFuture) -> None:
        self.start = start
        self.items = items
        self.call = call


class MapRun:
    """The chunks of one map, sent as children become free."""

    def __init__(
        self, send: Callable[[Sequence[Any]], Call], items: Sequence[Any], *, workers: int, chunksize: int | None
    ) -> None:
        """`send` makes a call of `run_chunk`, or of its like, for these items. With `chunksize` all are sent at once."""
        self._send = send
        self._items = items
        self._workers = workers
        self._chunksize = chunksize
        self._in_flight = CHUNKS_PER_WORKER * workers if chunksize is None else len(items)
        self._item_s: float | None = None
        self._next = 0
        self._is_begun = False
        self._is_abandoned = False
        self._is_stuck = False
        """A chunk could not be sent: no other is cut before somebody has looked at it."""
        self._is_last_chance = False
        # Reentrant: a call that ends at once calls back before it was sent.
        self._lock = threading.RLock()
        self._flying: deque[Chunk] = deque()
        self._in_order: deque[Chunk] = deque()
        self._ended: SimpleQueue[Chunk] = SimpleQueue()
        self._fly()

    def values(self, timeout_s: float | None) -> Iterator[Any]:
        """The results in the order of the items. Raises TimeoutError where one is not there in time."""
        return Results(self.lists(timeout_s), self.abandon)

    def lists(self, timeout_s: float | None) -> Iterator[list[Any]]:
        """The same, as many at a time as there are."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        return self._lists(deadline_s)

    def _lists(self, deadline_s: float | None) -> Iterator[list[Any]]:
        try:
            while self._has_more():
                yield from self._results(self._in_order.popleft(), deadline_s)
        finally:
            self.abandon()

    def pairs(self) -> Iterator[tuple[int, Any]]:
        """Index and result of each item, as they come."""
        try:
            while self._has_more():
                chunk = self._ended.get()
                self._in_order.remove(chunk)
                index = chunk.start
                for values in self._results(chunk, None):
                    values.reverse()
                    # Not `enumerate`, which keeps the pair that it gave last.
                    while values:
                        yield index, values.pop()
                        index += 1
        finally:
            self.abandon()

    def send_rest(self) -> None:
        """All that is left, at once and in few chunks: the pool will take no more calls."""
        with self._lock:
            self._is_last_chance = True
            self._in_flight = len(self._items)
            self._fly()

    def abandon(self) -> None:
        """Cut no more, and cancel what has not started: nobody will ask for it."""
        # No lock: this may be a finalizer, in a thread that holds the crew's while another waits for it with ours.
        self._is_abandoned = True
        for chunk in tuple(self._flying):
            if isinstance(chunk.call, Call):
                chunk.call.cancel_if_waiting()

    def _has_more(self) -> bool:
        self._fly()
        return bool(self._in_order)

    def _fly(self) -> None:
        """Send chunks until enough are in flight."""
        if self._is_abandoned:
            # Before the lock: a chunk that `abandon` cancels comes here, in a thread that may hold the crew's.
            return
        with self._lock:
            self._flying = deque(chunk for chunk in self._flying if not chunk.call.done())
            while self._may_cut and len(self._flying) < self._in_flight:
                self._cut()

    @property
    def _may_cut(self) -> bool:
        return not (self._is_stuck or self._is_abandoned) and self._next < len(self._items)

    def _cut(self) -> None:
        start, size = self._next, self._chunksize or self._good_size()
        items = self._items[start : start + size]
        self._next += len(items)
        chunk = Chunk(start, items, self._try_to_send(items))
        self._is_begun, self._is_stuck = True, not isinstance(chunk.call, Call)
        self._flying.append(chunk)
        self._in_order.append(chunk)
        chunk.call.add_done_callback(lambda _: self._on_end(chunk))

    def _try_to_send(self, items: Sequence[Any]) -> LightFuture:
        """Raises only for the very first: later, whoever calls this, the consumer must be told, at the item's turn."""
        try:
            return self._send(items)
        except Exception as error:
            if not (self._is_begun or isinstance(error, Unpicklable)):
                raise
            failed = LightFuture()
            failed.set_exception(error)
            return failed

    def _good_size(self) -> int:
        fair = ceil((len(self._items) - self._next) / (2 * self._workers))
        if self._is_last_chance:
            return fair
        if self._item_s is None:
            return 1
        item_s = max(self._item_s, 1e-9)
        return max(1, int(LEAST_CHUNK_S / item_s), min(fair, int(CHUNK_S / item_s)))

    def _on_end(self, chunk: Chunk) -> None:
        if not chunk.call.cancelled() and chunk.call.exception() is None:
            self._item_s = chunk.call.result().seconds / len(chunk.items)
        self._ended.put(chunk)
        self._fly()

    def _results(self, chunk: Chunk, deadline_s: float | None) -> Iterator[list[Any]]:
        if len(chunk.items) > 1 and self._can_run_again(chunk, deadline_s):
            yield from self._one_by_one(chunk, deadline_s)
            return
        found: Found = chunk.call.result(_left_s(deadline_s))
        yield found.values
        if found.error is not None:
            raise pickling.load(found.error)

    def _can_run_again(self, chunk: Chunk, deadline_s: float | None) -> bool:
        """Whether it has failed before the function was called, or by a crash, which only one item is to blame for."""
        error = chunk.call.exception(_left_s(deadline_s))
        if isinstance(error, Unreadable):
            return not error.has_run
        if isinstance(error, Unpicklable):
            # From a child it is a result that cannot travel, and its function has run.
            return not isinstance(chunk.call, Call)
        return error is not None and not isinstance(error, PoolBroken)

    def _one_by_one(self, chunk: Chunk, deadline_s: float | None) -> Iterator[list[Any]]:
        """Each item of a chunk again, in a call of its own."""
        singles = deque(Chunk(chunk.start + n, [item], self._try_to_send([item])) for n, item in enumerate(chunk.items))
        with self._lock:
            self._flying.extend(singles)
        while singles:
            yield from self._results(singles.popleft(), deadline_s)
        self._is_stuck = False


class Results(Iterator[Any]):
    """The values of a map, one after the other.

    A loop over it runs in C, which takes half the time that a generator does: a tenth of a map of tiny calls.
    """

    def __init__(self, lists: Iterator[list[Any]], abandon: Callable[[], None]) -> None:
        self._values: Iterator[Any] = itertools.chain.from_iterable(map(_handing_over, lists))
        # Weakly: when the last value was given, this must hold the pool no longer.
        self._abandon = weakref.WeakMethod(abandon)

    def __iter__(self) -> Iterator[Any]:  # noqa: PYI034 (the loop must not come back here for each value)
        return self._values

    def __next__(self) -> Any:
        return next(self._values)

    def close(self) -> None:
        """Nobody will ask for the rest."""
        self._values = iter(())
        if (abandon := self._abandon()) is not None:
            abandon()


def _handing_over(values: list[Any]) -> Iterator[Any]:
    """Each value, which is kept here no longer; a chunk of large ones would stay until its last was asked for."""
    if len(values) >= MANY:
        return iter(values)
    values.reverse()
    return map(list.pop, itertools.repeat(values, len(values)))


def _left_s(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else deadline_s - time.monotonic()
