"""What is left of pools that come and go: nothing."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, leaving_nothing, open_files, python, segments

from treadle import ProcessPool
from treadle.pools.processes.limits import resident_mb

IS_SOAK = "TREADLE_SOAK" in os.environ
CYCLES = 500 if IS_SOAK else 15
WARM_UP = 100 if IS_SOAK else 5
GROWTH_MB = 4
"""What the memory of this process may grow by after the first cycles: less than 10 KB a cycle in the long run."""


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with leaving_nothing():
        yield


class Held(NamedTuple):
    """What this process holds of the system."""

    files: int
    threads: int
    children: list[str]

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        children = [task.read_text() for task in Path("/proc/self/task").glob("*/children")]
        return cls(len(open_files()), threading.active_count(), sorted(filter(None, children)))


def use_and_shut_down() -> None:
    with ProcessPool(1) as pool:
        assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def use_and_drop() -> None:
    assert ProcessPool(1).submit(functions.double, 2).result(PATIENCE_S) == 4


@pytest.mark.parametrize("use", [use_and_shut_down, use_and_drop], ids=lambda it: it.__name__)
def test_pools_come_and_go_without_a_trace(use: Callable[[], None]) -> None:
    """No file, no thread, no process, dead ones included, and no memory; also of a pool that nobody has shut down."""
    # In a process of its own: what other tests hold comes and goes by itself.
    program = f"from {__name__} import come_and_go, {use.__name__} as use; come_and_go(use)"
    with python("-c", program) as process:
        assert process.communicate(timeout=CYCLES * PATIENCE_S) == ("", "")


def come_and_go(use: Callable[[], None]) -> None:
    """The main function of that process; says what is left."""
    use()
    before = eventually(lambda: threading.active_count() == 1 and Held.now())
    for _ in range(WARM_UP):
        use()
    memory_mb, objects = resident_mb(os.getpid()), count_objects()
    for _ in range(CYCLES - WARM_UP):
        use()
    eventually(lambda: Held.now() == before)
    assert count_objects() - objects < CYCLES - WARM_UP
    assert resident_mb(os.getpid()) - memory_mb < GROWTH_MB


def count_objects() -> int:
    """Those that may hold others: of a pool that is kept, hundreds."""
    gc.collect()
    return len(gc.get_objects())


def test_large_values_leave_no_memory() -> None:
    """Arguments, results and shared arrays: all is given back when the pool has ended and the last array is gone."""
    before = segments("self")
    with ProcessPool(2) as pool:
        shared = pool.share(np.ones(1_000_000))
        sums = [pool.submit(np.sum, shared[:n]) for n in (1000, 10_000)]
        assert [future.result(PATIENCE_S) for future in sums] == [1000, 10_000]
        results = [pool.submit(functions.identity, np.ones(100_000)) for _ in range(10)]
        assert all(future.result(PATIENCE_S).sum() == 100_000 for future in results)
    assert segments("self") > before
    del shared, sums, results
    eventually(lambda: gc.collect() >= 0 and segments("self") == before)


def test_a_shared_array_that_is_gone_is_gone() -> None:
    """With the last that looks into it, although the pool lives."""
    with ProcessPool(1) as pool:
        before = segments("self")
        for _ in range(5):
            shared = pool.share(np.ones(100_000))
            part = shared[10:20]
            assert pool.submit(np.sum, part).result(PATIENCE_S) == 10
            del shared, part
            gc.collect()
        assert segments("self") == before


def test_a_pool_that_was_never_used_leaves_nothing() -> None:
    """It has begun nothing."""
    before = Held.now()
    for _ in range(20):
        ProcessPool(1).shutdown()
        ProcessPool(1)
    assert Held.now() == before


def test_a_pool_that_is_dropped_ends_what_it_has_taken(gate: Gate) -> None:
    """Who holds the futures gets their results."""
    futures = [ProcessPool(1).submit(functions.wait_for, str(gate.path)) for _ in range(2)]
    gc.collect()
    gate.open()
    assert [future.result(PATIENCE_S) for future in futures] == ["open", "open"]
