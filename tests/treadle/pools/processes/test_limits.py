"""What a call may use: time, memory, cores."""

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive

from treadle import LimitNotKept, MemoryLimitExceeded, ProcessPool, TaskTimeout, ThreadPool
from treadle.pools.contract import Pool
from treadle.pools.coroutines import CoroutinePool
from treadle.pools.inline import InlinePool

LONG_S = 1000


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPool]:
    """One pool of two, both there, for the tests that kill nothing."""
    with ProcessPool(2) as pool:
        list(pool.map(functions.meet, [str(tmp_path_factory.mktemp("pair"))] * 2, [2, 2], range(2), chunksize=1))
        yield pool


def start(pool: Pool, function: Callable[..., Any], *args: Any, **limits: Any) -> "concurrent.futures.Future[Any]":
    """A call that has started."""
    started = threading.Event()
    future = pool.call(function, args, on_started=started.set, **limits)
    assert started.wait(PATIENCE_S)
    return future


# Time


def test_a_timeout_kills(pool: ProcessPool, gate: Gate) -> None:
    """TaskTimeout with the limit, the child is dead, and the queued call runs on another one."""
    child = pool.submit(functions.pid).result(PATIENCE_S)
    future = pool.call(functions.wait_for, (str(gate.path),), timeout_s=0.1)
    queued = pool.submit(functions.double, 2)
    with pytest.raises(TaskTimeout, match=r"longer than timeout_s=0.1 and was killed"):
        future.result(PATIENCE_S)
    eventually(lambda: not is_alive(child))
    assert queued.result(PATIENCE_S) == 4


def test_a_timeout_is_a_timeout_error(pool: ProcessPool, gate: Gate) -> None:
    """What the standard library's code catches."""
    with pytest.raises(TimeoutError):
        pool.call(functions.wait_for, (str(gate.path),), timeout_s=0.01).result(PATIENCE_S)


def test_a_timeout_kills_c_code_that_holds_its_gil(pool: ProcessPool, gate: Gate) -> None:
    """It needs nothing of the process."""
    child = pool.submit(functions.pid).result(PATIENCE_S)
    error = pool.call(functions.announce_and_compute, (str(gate.folder / "started"),), timeout_s=0.5).exception(
        PATIENCE_S
    )
    assert isinstance(error, TaskTimeout)
    eventually(lambda: not is_alive(child))


def test_a_timeout_is_counted_from_the_start_of_the_function(pool: ProcessPool, gate: Gate) -> None:
    """A call that waits longer than that in the queue is not killed for it."""
    blocking = start(pool, functions.wait_for, str(gate.path))
    waiting = pool.call(functions.stay, (2,), timeout_s=1)
    until_s = time.monotonic() + 1.1
    eventually(lambda: time.monotonic() >= until_s)
    gate.open()
    assert waiting.result(PATIENCE_S) == 2
    assert blocking.result(PATIENCE_S) == "open"


def test_a_call_that_ends_in_time_is_left_alone(pool: ProcessPool) -> None:
    """Again and again in the same child, and it is no more than a call."""
    children = {pool.call(functions.pid, timeout_s=LONG_S).result(PATIENCE_S) for _ in range(50)}
    assert children == set(pool.pids)


def test_many_timeouts_at_once_end_each_its_own_call(gate: Gate) -> None:
    """And no other."""
    with ProcessPool(2) as pool:
        slow = [pool.call(functions.wait_for, (str(gate.path),), timeout_s=0.03) for _ in range(6)]
        quick = [pool.call(functions.double, (number,), timeout_s=LONG_S) for number in range(30)]
        assert [type(future.exception(PATIENCE_S)) for future in slow] == [TaskTimeout] * 6
        assert [future.result(PATIENCE_S) for future in quick] == [2 * number for number in range(30)]


def test_an_ordinary_call_beside_a_timeout_goes_on(gate: Gate) -> None:
    """In its own child."""
    with ProcessPool(2) as pool:
        beside = start(pool, functions.wait_for, str(gate.path))
        late = pool.call(functions.wait_for, (str(gate.path),), timeout_s=0.05)
        assert isinstance(late.exception(PATIENCE_S), TaskTimeout)
        gate.open()
        assert beside.result(PATIENCE_S) == "open"


# Memory


def test_a_call_that_grows_over_its_limit_is_killed(pool: ProcessPool, gate: Gate) -> None:
    """MemoryLimitExceeded with the limit, and the pool serves on."""
    future = pool.call(functions.grow_and_wait, (200, str(gate.path)), memory_mb=50)
    with pytest.raises(MemoryLimitExceeded, match=r"the call took \d+ MB, more than memory_mb=50, and was killed"):
        future.result(PATIENCE_S)
    assert isinstance(future.exception(), MemoryError)
    assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def test_growth_counts_from_the_start_although_the_pool_hears_of_it_late(pool: ProcessPool, gate: Gate) -> None:
    """A callback of somebody's may keep the pool's thread; what the call takes meanwhile is counted all the same."""
    grown = gate.folder / "grown"
    first = pool.submit(functions.wait_for, str(gate.folder / "go"))
    first.add_done_callback(lambda _: eventually(grown.exists))
    (gate.folder / "go").touch()
    future = pool.call(functions.grow_and_wait, (200, str(gate.path), str(grown)), memory_mb=50)
    assert isinstance(future.exception(PATIENCE_S), MemoryLimitExceeded)


@pytest.mark.parametrize("grown_before", [0, 150], ids=["in a new child", "in one that has grown before"])
def test_a_call_under_its_limit_is_left_alone(pool: ProcessPool, grown_before: int) -> None:
    """What its child had before it does not count."""
    pool.submit(functions.keep, "grown", bytes(grown_before << 20)).result(PATIENCE_S)
    child = pool.pids
    assert pool.call(functions.grow, (30,), memory_mb=100).result(PATIENCE_S) == 30
    assert pool.pids == child


@pytest.mark.parametrize("way", ["arena", "share"])
def test_an_array_argument_does_not_count(pool: ProcessPool, way: str) -> None:
    """It came through shared memory, and is read where it lies, every page of it."""
    array = np.ones(200 << 17)
    argument = pool.share(array) if way == "share" else array
    total = pool.call(functions.sum_and_stay, (argument,), memory_mb=50).result(PATIENCE_S)
    assert total == array.size


def test_what_is_preloaded_does_not_count() -> None:
    """It was there before, and is shared with the process that it was forked from."""
    with ProcessPool(1, preload=["tests.preloaded:fill()"]) as pool:
        assert pool.call(functions.sum_of_preloaded, memory_mb=50).result(PATIENCE_S) == 0


def test_a_call_may_be_limited_in_both(pool: ProcessPool, gate: Gate) -> None:
    """Whichever comes first ends it."""
    both = {"timeout_s": LONG_S, "memory_mb": 50}
    assert isinstance(
        pool.call(functions.grow_and_wait, (200, str(gate.path)), **both).exception(PATIENCE_S),  # type: ignore[arg-type]
        MemoryLimitExceeded,
    )
    other = {"timeout_s": 0.05, "memory_mb": 10_000}
    assert isinstance(
        pool.call(functions.wait_for, (str(gate.path),), **other).exception(PATIENCE_S),  # type: ignore[arg-type]
        TaskTimeout,
    )


# Cores


def test_a_call_of_all_cores_runs_alone(pair: ProcessPool, gate: Gate) -> None:
    """Nobody runs beside it, whatever waits, and all get their turn."""
    paths = [str(gate.folder / str(number)) for number in range(30)]
    futures = [
        pair.call(functions.count_beside, (str(gate.folder), path), cores=2 if index % 5 == 0 else None)
        for index, path in enumerate(paths)
    ]
    beside = [future.result(PATIENCE_S) for future in futures]
    assert beside[::5] == [0] * 6


def test_a_call_of_all_cores_waits_for_those_that_run(pair: ProcessPool, gate: Gate) -> None:
    """And those behind it wait for it, so that it does get its turn."""
    order: list[str] = []
    running = start(pair, functions.wait_for, str(gate.path))
    wide = pair.call(functions.double, (1,), cores=2, on_started=lambda: order.append("wide"))
    behind = pair.call(functions.double, (2,), on_started=lambda: order.append("behind"))
    assert not wide.running()
    gate.open()
    assert [f.result(PATIENCE_S) for f in (running, wide, behind)] == ["open", 2, 4]
    assert order == ["wide", "behind"]


def test_a_wide_call_that_is_cancelled_lets_those_behind_it_run(pair: ProcessPool, gate: Gate) -> None:
    """At once, although another one still runs."""
    running = start(pair, functions.wait_for, str(gate.path))
    wide = pair.call(functions.double, (1,), cores=2)
    behind: Any = pair.submit(functions.double, 2)
    with pair._crew._lock:  # The pool's thread does not look at the queue meanwhile.
        assert wide.cancel()
        assert not behind.is_queued
    assert behind.result(PATIENCE_S) == 4
    gate.open()
    assert running.result(PATIENCE_S) == "open"


@pytest.mark.parametrize("end", ["cancel", "timeout", "crash"])
def test_the_cores_of_a_call_are_free_however_it_ends(gate: Gate, end: str) -> None:
    """Two calls run at once again."""
    with ProcessPool(2) as pool:
        function = functions.kill_myself if end == "crash" else functions.wait_for
        limits = {"timeout_s": 0.05} if end == "timeout" else {}
        wide = start(pool, function, str(gate.path), cores=2, **limits)
        if end == "cancel":
            wide.cancel()
        concurrent.futures.wait([wide], PATIENCE_S)
        meeting = [pool.submit(functions.meet, str(gate.folder), 2, number) for number in range(2)]
        assert [future.result(PATIENCE_S) for future in meeting] == [0, 1]


def test_a_call_of_all_cores_that_is_cancelled_keeps_nobody_waiting(pair: ProcessPool, gate: Gate) -> None:
    """What came after it goes to an idle child at once."""
    met = [pair.submit(functions.meet, str(gate.folder), 2, number) for number in range(2)]
    concurrent.futures.wait(met, PATIENCE_S)
    running = start(pair, functions.wait_for, str(gate.path))
    wide = pair.call(functions.double, (1,), cores=2)
    behind: Any = pair.submit(functions.double, 2)
    with pair._crew._lock:  # The pool's thread does not look at the queue meanwhile.
        assert wide.cancel()
        assert not behind.is_queued
    assert behind.result(PATIENCE_S) == 4
    assert not running.done()
    gate.open()
    assert running.result(PATIENCE_S) == "open"


@pytest.mark.parametrize(("cores", "threads"), [(None, 1), (1, 1), (2, 2)])
def test_numerical_libraries_use_as_many_threads_as_the_call_has_cores(
    pair: ProcessPool, cores: int | None, threads: int
) -> None:
    """Both those that are loaded and those that are started inside: 1 in an ordinary call."""
    for _ in range(2):
        variables, loaded = pair.call(functions.threads_of_blas, cores=cores).result(PATIENCE_S)
        assert variables == {str(threads)}
        # A machine may have fewer cores than are asked for.
        assert loaded in ({threads}, {min(threads, os.cpu_count() or 1)})


def test_a_library_that_a_wide_call_has_loaded_is_narrow_in_the_next() -> None:
    """It has begun with as many threads as that call had cores."""
    with ProcessPool(2) as pool:
        wide = pool.call(functions.threads_of_blas, cores=2).result(PATIENCE_S)
        ordinary = [pool.call(functions.threads_of_blas).result(PATIENCE_S) for _ in range(4)]
    assert wide[0] == {"2"}
    assert ordinary == [({"1"}, {1})] * 4


# What is no limit


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"timeout_s": 0}, "timeout_s must be more than 0, got 0"),
        ({"timeout_s": -1.5}, "timeout_s must be more than 0, got -1.5"),
        ({"timeout_s": float("nan")}, "timeout_s must be more than 0, got nan"),
        ({"memory_mb": 0}, "memory_mb must be more than 0, got 0"),
        ({"memory_mb": -1}, "memory_mb must be more than 0, got -1"),
        ({"cores": 0}, "cores must be a whole number of at least 1, got 0"),
        ({"cores": 1.5}, "cores must be a whole number of at least 1, got 1.5"),
        ({"cores": True}, "cores must be a whole number of at least 1, got True"),
        ({"cores": 3}, "cores=3 is more than the 2 workers of this pool"),
    ],
)
def test_a_wrong_limit_is_refused(pair: ProcessPool, limits: dict[str, Any], told: str) -> None:
    """ValueError at the call, with the value."""
    with pytest.raises(ValueError, match=told):
        pair.call(functions.double, (1,), **limits)


@pytest.mark.parametrize("limit", [{"timeout_s": 5}, {"memory_mb": 5}, {"cores": 1}], ids=str)
@pytest.mark.parametrize("make", [ThreadPool, CoroutinePool, InlinePool], ids=lambda make: make.__name__)
def test_a_pool_that_cannot_keep_a_limit_refuses_it(make: Callable[[], Pool], limit: dict[str, Any]) -> None:
    """LimitNotKept names the limit, and the pool that can keep it."""
    ((name, value),) = limit.items()
    with make() as pool:
        with pytest.raises(LimitNotKept, match=rf"{make.__name__} cannot keep {name}={value}.*use ProcessPool"):
            pool.call(functions.double, (1,), **limit)


def test_a_limit_inside_a_child_is_refused(pair: ProcessPool) -> None:
    """There everything runs inline."""
    error = pair.submit(functions.call_with_limit_inside).exception(PATIENCE_S)
    assert isinstance(error, LimitNotKept)
