"""The pool of coroutines."""

import asyncio
import threading

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate

from treadle.pools.contract import Pool
from treadle.pools.coroutines import CoroutinePool
from treadle.testing.pool_contract import AsyncFunctions, PoolContract


class TestCoroutinePool(PoolContract):
    kills = True
    runs_async = True

    def make_pool(self) -> Pool:
        return CoroutinePool(2)


async def stay(here: list[int], everybody: int) -> int:
    """Wait until everybody is here."""
    here.append(1)
    while len(here) < everybody:
        await asyncio.sleep(0)
    return len(here)


async def tidy_up(tidied: list[str], started: threading.Event) -> None:
    started.set()
    try:
        await asyncio.Event().wait()
    finally:
        tidied.append("tidied")


def test_coroutines_run_side_by_side() -> None:
    """A hundred at once, in one thread."""
    here: list[int] = []
    with CoroutinePool(100) as pool:
        futures = [pool.call(stay, (here, 100)) for _ in range(100)]
        assert [future.result(PATIENCE_S) for future in futures] == [100] * 100


def test_no_more_than_its_places_run_at_once() -> None:
    """The next one starts when one has ended."""
    with Gate() as gate, CoroutinePool(1) as pool:
        order: list[str] = []
        first = pool.call(AsyncFunctions.wait_for, (str(gate.path),), on_started=lambda: order.append("first"))
        second = pool.call(AsyncFunctions.add, (1, 2), on_started=lambda: order.append("second"))
        first.add_done_callback(lambda _: order.append("first ended"))
        gate.open()
        assert second.result(PATIENCE_S) == 3
        assert order == ["first", "first ended", "second"]


def test_a_killed_coroutine_may_tidy_up() -> None:
    """It is cancelled at its next await."""
    tidied: list[str] = []
    started = threading.Event()
    with CoroutinePool(1) as pool:
        future = pool.call(tidy_up, (tidied, started))
        assert started.wait(PATIENCE_S)
        assert pool.kill(future)
    assert tidied == ["tidied"]


def test_a_plain_function_is_an_error_of_the_call() -> None:
    """A TypeError in its future, which does not hang."""
    with CoroutinePool(1) as pool:
        assert isinstance(pool.call(functions.not_async, (1,)).exception(PATIENCE_S), TypeError)


def test_shutdown_leaves_no_thread() -> None:
    """Its loop is closed with it."""
    pool = CoroutinePool(1)
    assert pool.call(functions.double_soon, (2,)).result(PATIENCE_S) == 4
    pool.shutdown()
    assert not any(thread.name == "treadle-coroutines" for thread in threading.enumerate())


def test_a_pool_without_places_is_refused() -> None:
    """ValueError, with the number."""
    with pytest.raises(ValueError, match="max_tasks must be at least 1, got 0"):
        CoroutinePool(0)
