"""The pool of threads."""

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, python

from treadle import LimitNotKept, ThreadPool
from treadle.pools.bounds import WhenFull
from treadle.pools.contract import Pool
from treadle.testing.pool_contract import PoolContract

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

STUCK = """
import threading
from treadle import ThreadPool
pool = ThreadPool(1)
started = threading.Event()
pool.call(threading.Event().wait, on_started=started.set)
started.wait()
print("end of the program")
"""


def set_and_read(value: str) -> str:
    before = variable.get()
    variable.set(value)
    return before


class TestThreadPool(PoolContract):
    maps = tells = bounds = True

    def make_pool(self) -> Pool:
        return ThreadPool(2)

    def make_bounded_pool(self, max_queue: int, when_full: WhenFull) -> Pool:
        return ThreadPool(1, max_queue=max_queue, when_full=when_full)


def test_calls_run_at_once(gate: Gate) -> None:
    """As many as there are threads."""
    with ThreadPool(4) as pool:
        futures = [pool.submit(functions.meet, str(gate.folder), 4, number) for number in range(4)]
        assert [future.result(PATIENCE_S) for future in futures] == [0, 1, 2, 3]


def test_threads_start_when_there_is_work() -> None:
    """None before the first call, and no second one while the first is idle."""
    pool = ThreadPool(4, name="lazy")
    assert _threads("lazy") == 0
    for _ in range(5):
        pool.submit(functions.double, 1).result(PATIENCE_S)
    assert 1 <= _threads("lazy") <= 2
    pool.shutdown()


def test_shutdown_leaves_no_thread() -> None:
    """All of them have ended when it returns."""
    pool = ThreadPool(3, name="gone")
    for future in [pool.submit(functions.double, 1) for _ in range(20)]:
        future.result(PATIENCE_S)
    pool.shutdown()
    assert _threads("gone") == 0


def test_a_call_does_not_see_what_another_one_set() -> None:
    """Each runs in a context of its own."""
    with ThreadPool(1) as pool:
        assert pool.submit(set_and_read, "a").result(PATIENCE_S) == "unset"
        assert pool.submit(set_and_read, "b").result(PATIENCE_S) == "unset"


def test_a_call_may_shut_its_pool_down() -> None:
    """From one of its own threads, without waiting for itself."""
    pool = ThreadPool(1)
    assert pool.submit(pool.shutdown).result(PATIENCE_S) is None


def test_a_pool_without_threads_is_refused() -> None:
    """ValueError, with the number."""
    with pytest.raises(ValueError, match="max_workers must be greater than 0, got 0"):
        ThreadPool(0)


def test_it_is_an_executor() -> None:
    """What waits for futures of `concurrent.futures` waits for its own, cancelled ones included."""
    with ThreadPool(1) as pool, Gate() as gate:
        running, waiting = pool.submit(functions.wait_for, str(gate.path)), pool.submit(functions.double, 1)
        waiting.cancel()
        assert concurrent.futures.wait([waiting], PATIENCE_S).done == {waiting}
        gate.open()
        assert list(concurrent.futures.as_completed([running, waiting], PATIENCE_S)) == [waiting, running]


def test_a_cancelled_call_makes_room() -> None:
    """At once, not when a thread comes to it; it is not kept, either."""
    with ThreadPool(1, max_queue=1, when_full="wait") as pool, Gate() as gate:
        started = threading.Event()
        pool.call(functions.wait_for, (str(gate.path),), on_started=started.set)
        assert started.wait(PATIENCE_S)
        waiting = [pool.submit(functions.double, 1)]
        arguments = weakref.ref(waiting[0])
        waiting.pop().cancel()
        gc.collect()
        assert arguments() is None
        last = pool.submit(functions.double, 2)
        gate.open()
        assert last.result(PATIENCE_S) == 4


def test_a_thread_of_the_pool_never_waits_for_room() -> None:
    """All of them would wait for each other: it runs the call."""
    with ThreadPool(1, max_queue=1, when_full="wait") as pool:
        names = pool.submit(_submit_inside, pool).result(PATIENCE_S)
        assert names == ["treadle-0"]


def _submit_inside(pool: ThreadPool) -> list[str]:
    pool.submit(functions.double, 1)
    return [pool.submit(_thread_name).result(PATIENCE_S)]


def _thread_name() -> str:
    return threading.current_thread().name


def test_who_waits_for_room_learns_of_a_shutdown() -> None:
    """RuntimeError, as for any call that comes later."""
    with ThreadPool(1) as other, ThreadPool(1, max_queue=1, when_full="wait") as pool, Gate() as gate:
        started = threading.Event()
        pool.call(functions.wait_for, (str(gate.path),), on_started=started.set)
        assert started.wait(PATIENCE_S)
        pool.submit(functions.double, 1)
        blocked = other.submit(pool.submit, functions.double, 2)
        eventually(lambda: pool._has_room._waiters)  # type: ignore[attr-defined]
        pool.shutdown(wait=False)
        assert isinstance(blocked.exception(PATIENCE_S), RuntimeError)


def test_a_limit_is_refused() -> None:
    """With the pool that can keep it."""
    with ThreadPool(1) as pool, pytest.raises(LimitNotKept, match=r"timeout_s=1.*use ProcessPool"):
        pool.call(functions.double, (1,), timeout_s=1)


def test_an_event_loop_can_map() -> None:
    """With `async for`, in the order of the items."""

    async def collect() -> list[int]:
        return [value async for value in pool.amap(functions.double, [1, 2, 3])]

    with ThreadPool(2) as pool:
        assert asyncio.run(collect()) == [2, 4, 6]


@pytest.mark.parametrize("run", [ThreadPool.map, ThreadPool.map_unordered], ids=lambda run: run.__name__)
def test_an_error_ends_a_map(run: Callable[..., Iterator[Any]]) -> None:
    """What had not started never runs, in order or not."""
    with ThreadPool(1) as pool, Gate() as gate:
        steps = [int, functions.wait_for, functions.touch]
        results = run(pool, functions.apply, steps, ["x", str(gate.path), str(gate.folder / "touched")])
        with pytest.raises(ValueError, match="invalid literal"):
            next(results)
        gate.open()
        pool.shutdown()
        assert not (gate.folder / "touched").exists()


def test_a_shared_array_is_a_copy_for_reading() -> None:
    """As in a pool of processes, so that one stands for the other."""
    numpy = pytest.importorskip("numpy")
    with ThreadPool(1) as pool:
        array = numpy.arange(3)
        shared = pool.share(array)
        array[0] = 7
        assert pool.submit(sum, shared).result(PATIENCE_S) == 3
        assert not shared.flags.writeable


def test_a_stuck_call_does_not_keep_the_program() -> None:
    """Its thread is a daemon."""
    with python("-c", STUCK) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("end of the program\n", "")


def test_a_pool_goes_on_in_a_forked_process() -> None:
    """Its threads stayed behind; the child starts threads of its own."""
    program = (
        "import os; from treadle import ThreadPool; pool = ThreadPool(1); pool.submit(len, 'a').result()\n"
        "if os.fork() == 0: os._exit(0 if pool.submit(len, 'ab').result(10) == 2 else 1)\n"
        "assert os.wait()[1] == 0"
    )
    with python("-W", "ignore", "-c", program) as process:
        assert process.communicate(timeout=PATIENCE_S)[1] == ""


def _threads(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())
