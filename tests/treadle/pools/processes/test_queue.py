"""A bounded queue: what happens to one call too many, by choice."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually

from treadle import PoolBroken, ProcessPool, QueueFull


@contextmanager
def bounded(gate: Gate, **options: Any) -> Iterator[ProcessPool]:
    """A pool of one child; what waits for the gate in it does not keep it from its end."""
    with ProcessPool(1, **options) as pool:
        try:
            yield pool
        finally:
            gate.open()


def fill(pool: ProcessPool, gate: Gate, waiting: int) -> list[Any]:
    """One call that runs until the gate opens, and as many behind it."""
    started = threading.Event()
    futures = [pool.call(functions.wait_for, (str(gate.path),), on_started=started.set)]
    assert started.wait(PATIENCE_S)
    return [*futures, *(pool.submit(functions.double, number) for number in range(waiting))]


@pytest.fixture(params=["submit", "call"])
def how(request: pytest.FixtureRequest) -> Any:
    """Both ways to call."""
    if request.param == "submit":
        return lambda pool, function, *args: pool.submit(function, *args)
    return lambda pool, function, *args: pool.call(function, args)


def test_one_call_too_many_is_refused(gate: Gate, how: Any) -> None:
    """QueueFull at once, with the number; when there is room again it is taken."""
    with bounded(gate, max_queue=2) as pool:
        futures = fill(pool, gate, 2)
        with pytest.raises(QueueFull, match="2 calls wait already"):
            how(pool, functions.double, 2)
        gate.open()
        assert [future.result(PATIENCE_S) for future in futures] == ["open", 0, 2]
        assert how(pool, functions.double, 2).result(PATIENCE_S) == 4


def test_a_cancelled_call_makes_room(gate: Gate, how: Any) -> None:
    """It does not wait any more."""
    with bounded(gate, max_queue=1) as pool:
        futures = fill(pool, gate, 1)
        assert futures[1].cancel()
        after = how(pool, functions.double, 2)
        gate.open()
        assert after.result(PATIENCE_S) == 4


def test_one_call_too_many_waits_for_room(gate: Gate, how: Any) -> None:
    """In its caller, and no longer than it must."""
    with bounded(gate, max_queue=1, when_full="wait") as pool:
        fill(pool, gate, 1)
        got: list[int] = []
        threads = [
            threading.Thread(target=lambda: got.append(how(pool, functions.double, 2).result(PATIENCE_S)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: pool._crew._waiting_for_room == 4)
        assert got == []
        gate.open()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert got == [4] * 4


def test_who_waits_for_room_hears_of_the_end(gate: Gate) -> None:
    """RuntimeError where the pool is shut down meanwhile."""
    pool = ProcessPool(1, max_queue=1, when_full="wait")
    futures = fill(pool, gate, 1)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            pool.submit(functions.double, 2)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: pool._crew._waiting_for_room == 1)
    pool.shutdown(wait=False)
    thread.join(PATIENCE_S)
    assert len(errors) == 1
    gate.open()
    assert [future.result(PATIENCE_S) for future in futures] == ["open", 0]
    pool.shutdown()


def test_who_waits_for_room_hears_of_a_pool_that_breaks() -> None:
    """PoolBroken, and nobody hangs."""
    with ProcessPool(1, max_queue=1, when_full="wait", initializer=functions.fail_to_prepare) as pool:
        first = pool.submit(functions.double, 1)
        with pytest.raises(PoolBroken):
            for _ in range(3):
                pool.submit(functions.double, 2).result(PATIENCE_S)
        assert isinstance(first.exception(PATIENCE_S), PoolBroken)


def test_a_callback_of_a_future_does_not_wait_for_room() -> None:
    """It runs in the thread that makes room: there the call runs at once."""
    with ProcessPool(1, max_queue=1, when_full="wait") as pool:
        ran_in: list[int] = []
        done = threading.Event()

        def call(_: object) -> None:
            # The first may find an idle child, the second the one place; the third finds none.
            futures = [pool.submit(functions.pid) for _ in range(4)]
            ran_in.append(futures[-1].result(0))
            done.set()

        with Gate() as gate:
            first = pool.submit(functions.wait_for, str(gate.path))
            first.add_done_callback(call)
        assert done.wait(PATIENCE_S)
        assert ran_in == [os.getpid()]


def test_one_call_too_many_runs_in_its_caller(gate: Gate, how: Any) -> None:
    """Its value and its error are in the future all the same."""
    with bounded(gate, max_queue=1, when_full="run") as pool:
        fill(pool, gate, 1)
        here = how(pool, functions.pid)
        assert here.done()
        assert here.result() == os.getpid()
        assert isinstance(how(pool, functions.fail_deep).exception(0), LookupError)


def test_a_map_is_not_held_up_by_the_bound(gate: Gate) -> None:
    """Its chunks are never more than it needs."""
    with ProcessPool(2, max_queue=1) as pool:
        assert list(pool.map(functions.double, range(100))) == [2 * n for n in range(100)]


def test_a_child_that_leaves_takes_no_room(gate: Gate) -> None:
    """Beside the one that replaces it, as many calls may wait as ever."""
    with bounded(gate, max_queue=1, recycle_after_tasks=1) as pool:
        running = pool.call(functions.wait_for, (str(gate.path),), timeout_s=1000)
        members = pool._crew._schedule.members
        eventually(lambda: sum(member.is_ready for member in list(members.values())) == 2)
        waiting = pool.submit(functions.double, 2)
        gate.open()
        assert running.result(PATIENCE_S) == "open"
        assert waiting.result(PATIENCE_S) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_queue": 0}, "max_queue must be at least 1, got 0"),
        ({"when_full": "drop"}, "when_full must be 'raise', 'wait' or 'run', got 'drop'"),
        ({"recycle_after_tasks": 0}, "recycle_after_tasks must be greater than 0, got 0"),
        ({"recycle_over_rss_mb": -1}, "recycle_over_rss_mb must be greater than 0, got -1"),
        ({"idle_timeout_s": 0}, "idle_timeout_s must be greater than 0, got 0"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(options: dict[str, Any], told: str) -> None:
    """ValueError when the pool is made, with the value."""
    with pytest.raises(ValueError, match=told):
        ProcessPool(1, **options)
