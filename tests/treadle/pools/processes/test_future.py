"""The future that is cheap while nobody waits: whoever comes, and whenever, sees its end."""

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S

from treadle import ProcessPool
from treadle.pools.processes.future import LightFuture

RACES = 300


@pytest.fixture
def _switching_often() -> Iterator[None]:
    """Threads take turns after almost every instruction."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def by_result(future: LightFuture) -> Any:
    return future.result(PATIENCE_S)


def by_exception(future: LightFuture) -> Any:
    assert future.exception(PATIENCE_S) is None
    return future.result(0)


def by_wait(future: LightFuture) -> Any:
    (done,) = concurrent.futures.wait([future], PATIENCE_S).done
    return done.result(0)


def by_as_completed(future: LightFuture) -> Any:
    return next(concurrent.futures.as_completed([future], PATIENCE_S)).result(0)


def by_callback(future: LightFuture) -> Any:
    called = threading.Event()
    seen: list[Any] = []
    future.add_done_callback(lambda done: (seen.append(done.result(0)), called.set()))
    assert called.wait(PATIENCE_S)
    assert len(seen) == 1
    return seen[0]


def by_asyncio(future: LightFuture) -> Any:
    async def wait() -> Any:
        return await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE_S)

    return asyncio.run(wait())


WAYS = [by_result, by_exception, by_wait, by_as_completed, by_callback, by_asyncio]


@pytest.mark.usefixtures("_switching_often")
@pytest.mark.parametrize("way", WAYS)
def test_who_comes_while_the_result_is_set_gets_it(way: Callable[[LightFuture], Any]) -> None:
    """Whoever is first: nobody waits for ever."""
    for number in range(RACES if way is not by_asyncio else 30):
        future, barrier, seen = LightFuture(), threading.Barrier(3), []

        def come(future: LightFuture = future, barrier: Any = barrier, seen: list[Any] = seen) -> None:
            barrier.wait()
            seen.append(way(future))

        threads = [threading.Thread(target=come) for _ in range(2)]
        for thread in threads:
            thread.start()
        barrier.wait()
        future.set_result(number)
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        assert seen == [number, number]


@pytest.mark.parametrize("way", WAYS)
def test_who_comes_late_gets_the_result(way: Callable[[LightFuture], Any]) -> None:
    """At once."""
    future = LightFuture()
    future.set_result(5)
    assert future.done()
    assert way(future) == 5


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), concurrent.futures.TimeoutError()])
def test_an_exception_is_raised_to_all(error: BaseException) -> None:
    """As in the standard library, those that are no Exception too."""
    future = LightFuture()
    future.set_exception(error)
    with pytest.raises(type(error)):
        future.result(0)
    assert future.exception(0) is error
    assert future.done()
    assert not future.cancelled()


def test_a_result_that_is_not_there_in_time_is_a_timeout() -> None:
    """And may be asked for again."""
    future = LightFuture()
    with pytest.raises(TimeoutError):
        future.result(0)
    with pytest.raises(TimeoutError):
        future.exception(0)
    future.set_result(1)
    assert future.result(0) == 1


def test_a_result_cannot_be_set_twice() -> None:
    """InvalidStateError, and the first stays."""
    future = LightFuture()
    future.set_result(1)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(2)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_exception(ValueError())
    assert future.result(0) == 1


def test_a_callback_that_fails_keeps_nobody_from_the_result(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the other callbacks run."""
    future, seen = LightFuture(), []
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda done: seen.append(done.result(0)))
    future.set_result(3)
    assert seen == [3]
    assert "exception calling callback" in caplog.text


@pytest.mark.parametrize("end", [
    lambda future: future.set_result(1), lambda future: future.set_exception(ValueError()), LightFuture.cancel,
])  # fmt: skip
def test_who_listens_alone_hears_every_end_once(end: Callable[[LightFuture], object]) -> None:
    """Also where the same function listens twice."""
    for count in (1, 2):
        future, seen = LightFuture(), list[object]()
        for _ in range(count):
            future.add_done_callback(seen.append)
        end(future)
        assert seen == [future] * count


def test_it_tells_its_state_in_its_repr() -> None:
    """As in the standard library, before and after."""
    future = LightFuture()
    assert "state=pending" in repr(future)
    future.set_result(3)
    assert "state=finished returned int" in repr(future)


@pytest.mark.usefixtures("_switching_often")
def test_many_threads_wait_for_calls_of_a_pool_in_every_way() -> None:
    """Each sees each end."""
    with ProcessPool(2) as pool:
        futures: Any = [pool.submit(functions.double, number) for number in range(200)]
        seen: dict[Any, list[Any]] = {way: [] for way in WAYS[:-1]}
        threads = [
            threading.Thread(target=lambda way=way: seen[way].extend(way(future) for future in futures)) for way in seen
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
    assert all(values == [2 * number for number in range(200)] for values in seen.values())


def test_asyncio_gathers_calls(gate: Any) -> None:
    """With results and errors mixed."""
    with ProcessPool(2) as pool:

        async def gather() -> list[Any]:
            futures = [pool.submit(int, text) for text in ("1", "x", "3")]
            return await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)

        one, error, three = asyncio.run(gather())
    assert (one, type(error), three) == (1, ValueError, 3)
