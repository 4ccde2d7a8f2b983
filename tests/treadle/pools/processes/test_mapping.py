"""`map`, `map_unordered` and `amap`: chunks, their order, and what becomes of an item that fails."""

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually

from treadle import ProcessPool, Unpicklable, Unreadable, WorkerCrashed


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """One pool for the tests that leave it as it was."""
    with ProcessPool(2) as pool:
        yield pool


def given(results: Iterator[Any]) -> tuple[list[Any], BaseException | None]:
    """What an iterator gives, and what ends it early."""
    values: list[Any] = []
    try:
        values.extend(results)
    except BaseException as error:
        return values, error
    return values, None


def test_map_gives_the_results_in_order(pool: ProcessPool) -> None:
    """Whatever the chunks, and over several iterables to the end of the shortest."""
    numbers = list(range(1000))
    assert list(pool.map(functions.double, numbers)) == [2 * n for n in numbers]
    assert list(pool.map(functions.double, numbers, chunksize=7)) == [2 * n for n in numbers]
    assert list(pool.map(pow, [2, 3, 4], [3, 2])) == [8, 9]
    assert list(pool.map(functions.double, [])) == []


def test_map_raises_the_first_error(pool: ProcessPool) -> None:
    """When its turn has come; the results before it are given."""
    results = pool.map(int, ["1", "2", "x", "4"], chunksize=1)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="invalid literal"):
        next(results)


def test_map_gives_up_after_its_time(gate: Gate) -> None:
    """TimeoutError, and what had not started never runs."""
    with ProcessPool(1) as pool:
        blocking = pool.submit(functions.wait_for, str(gate.path))
        paths = [str(gate.folder / f"touched-{n}") for n in range(3)]
        with pytest.raises(TimeoutError):
            list(pool.map(functions.touch, paths, timeout=0, chunksize=1))
        gate.open()
        blocking.result(PATIENCE_S)
    assert not list(gate.folder.glob("touched-*"))


def test_map_refuses_a_chunk_of_nothing(pool: ProcessPool) -> None:
    """ValueError, with the number, where `map` is called."""
    with pytest.raises(ValueError, match="chunksize must be at least 1, got 0"):
        pool.map(functions.double, [1], chunksize=0)


def test_an_abandoned_map_runs_no_more(gate: Gate) -> None:
    """Closing the iterator cancels what had not started."""
    with ProcessPool(1) as pool:
        paths = [gate.folder / f"touched-{n}" for n in range(3)]
        # The first call finds its gate open: it is the folder.
        gates = [gate.folder, gate.path, gate.path]
        results = pool.map(_touch_and_wait, map(str, paths), map(str, gates), chunksize=1)
        next(results)
        eventually(paths[1].exists)
        results.close()  # type: ignore[attr-defined]
        gate.open()
    assert not paths[2].exists()


def _touch_and_wait(path: str, gate: str) -> None:
    functions.touch(path)
    functions.wait_for(gate)


# What is asked for


def test_map_takes_an_iterable_without_an_end_beside_one_that_has_one(pool: ProcessPool) -> None:
    """And generators; they are read to the end of the shortest."""
    assert list(pool.map(pow, (n for n in range(3)), itertools.repeat(2))) == [0, 1, 4]
    assert list(pool.map(pow, itertools.count(), [2, 2])) == [0, 1]
    assert list(pool.map(pow, [], itertools.count())) == []


@pytest.mark.parametrize("chunksize", [None, 1, 13, 10_000])
def test_each_item_of_a_map_runs_once(pool: ProcessPool, gate: Gate, chunksize: int | None) -> None:
    """Whatever the chunks, and although nobody looks at the results."""
    paths = [str(gate.folder / str(number)) for number in range(500)]
    pool.map(functions.append_to, paths, chunksize=chunksize)
    eventually(lambda: sum(path.stat().st_size for path in gate.folder.iterdir()) >= 500)
    assert list(pool.map(functions.length_of_file, paths)) == [1] * 500


def test_several_maps_at_once_do_not_mix(pool: ProcessPool) -> None:
    """Each gives its own results, in its own order."""
    maps = [pool.map(functions.double, range(start, start + 300)) for start in range(5)]
    assert [list(results) for results in maps] == [[2 * n for n in range(s, s + 300)] for s in range(5)]


def test_map_unordered_gives_each_item_with_its_index(pool: ProcessPool) -> None:
    """All of them, once, as they come."""
    pairs = list(pool.map_unordered(functions.double, range(1000)))
    assert sorted(pairs) == [(n, 2 * n) for n in range(1000)]
    assert sorted(pool.map_unordered(pow, [2, 3], [3, 2], chunksize=1)) == [(0, 8), (1, 9)]
    assert list(pool.map_unordered(functions.double, [])) == []


def test_map_unordered_does_not_wait_for_a_slow_item(pool: ProcessPool, gate: Gate) -> None:
    """The others are given before it."""
    gates = [str(gate.path), *[str(gate.folder)] * 9]
    pairs = pool.map_unordered(functions.wait_for, gates, chunksize=1)
    assert sorted(next(pairs)[0] for _ in range(9)) == list(range(1, 10))
    gate.open()
    assert next(pairs) == (0, "open")


def test_amap_lets_the_event_loop_go_on(pool: ProcessPool, gate: Gate) -> None:
    """It waits in another thread, and gives the results in order."""

    async def run() -> list[str]:
        asyncio.get_running_loop().call_later(0.01, gate.open)
        return [value async for value in pool.amap(functions.wait_for, [str(gate.path)] * 5)]

    assert asyncio.run(run()) == ["open"] * 5


def test_amap_raises_what_the_function_raises(pool: ProcessPool) -> None:
    """After the results before it."""

    async def run() -> list[int]:
        values: list[int] = []
        with pytest.raises(ValueError, match="invalid literal"):
            async for value in pool.amap(int, ["1", "2", "x"]):
                values.append(value)
        return values

    assert asyncio.run(run()) == [1, 2]


def test_cancelling_the_consumer_abandons_its_amap(gate: Gate) -> None:
    """It ends with CancelledError although a thread still waits for it, and what had not started never runs."""
    paths = [gate.folder / f"touched-{n}" for n in range(3)]

    async def run(pool: ProcessPool) -> None:
        results = pool.amap(_touch_and_wait, map(str, paths), [str(gate.path)] * 3)
        consumer = asyncio.ensure_future(anext(results))
        await asyncio.to_thread(eventually, paths[0].exists)
        consumer.cancel()
        (end,) = await asyncio.gather(consumer, return_exceptions=True)
        gate.open()
        assert isinstance(end, asyncio.CancelledError)

    with ProcessPool(1) as pool:
        asyncio.run(run(pool))
    assert [path.exists() for path in paths] == [True, False, False]


def test_maps_inside_a_child_run_inline(pool: ProcessPool) -> None:
    """All of them: no process is started there."""
    assert pool.submit(functions.all_maps_inside).result(PATIENCE_S) == ([2, 4], [(0, 2), (1, 4)], [2, 4], 0)


def test_the_time_of_a_map_is_counted_from_its_call(pool: ProcessPool, gate: Gate) -> None:
    """And not from when somebody first asks for a result."""
    results = pool.map(functions.wait_for, [str(gate.path)], timeout=1)
    until_s = time.monotonic() + 1
    eventually(lambda: time.monotonic() >= until_s)
    with pytest.raises(TimeoutError):
        next(results)
    assert time.monotonic() < until_s + 0.9
    gate.open()


def test_a_result_in_time_is_given_before_a_map_gives_up(gate: Gate) -> None:
    """TimeoutError at the first that is not there."""
    with ProcessPool(2) as pool:
        # The start of children takes its time on a busy machine.
        met = [pool.submit(functions.meet, str(gate.folder), 2, number) for number in range(2)]
        assert [future.result(PATIENCE_S) for future in met] == [0, 1]
        results = pool.map(functions.wait_for, [str(gate.folder), str(gate.path)], timeout=1, chunksize=1)
        values, error = given(results)
        gate.open()
    assert values == ["open"]
    assert isinstance(error, TimeoutError)


# An item that fails


@pytest.mark.parametrize("chunksize", [None, 1, 7, 2000], ids=str)
@pytest.mark.parametrize("function", [functions.fail_at_700, functions.fail_at_700_untold])
def test_the_results_before_an_error_are_given_first(pool: ProcessPool, chunksize: int | None, function: Any) -> None:
    """All of them, whatever the chunks, and whether or not the error can travel."""
    values, error = given(pool.map(function, range(1000), chunksize=chunksize))
    assert values == list(range(700))
    assert "at 700" in str(error)
    assert "in fail_at_700" in str(error) + str(getattr(error, "__cause__", ""))


@pytest.mark.parametrize("chunksize", [None, 1, 2000], ids=str)
def test_an_item_that_cannot_travel_is_an_error_in_its_place(pool: ProcessPool, chunksize: int | None) -> None:
    """The results before it are given, none is left out without a word, and the message names it."""
    items = [*range(700), functions.make_lock(), *range(300)]
    values, error = given(pool.map(functions.identity, items, chunksize=chunksize))
    assert values == list(range(700))
    assert isinstance(error, Unpicklable)
    assert "_thread.lock" in str(error)


def test_an_item_that_cannot_travel_ends_map_unordered(pool: ProcessPool) -> None:
    """It does not hang, and the pool goes on."""
    items = [*range(700), functions.make_lock(), *range(300)]
    values, error = given(pool.map_unordered(functions.identity, items))
    assert isinstance(error, Unpicklable)
    assert len(values) <= 1000
    assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


@pytest.mark.parametrize("chunksize", [None, 1, 2000], ids=str)
def test_an_item_that_cannot_be_read_there_is_an_error_in_its_place(pool: ProcessPool, chunksize: int | None) -> None:
    """The child's error, after the results before it."""
    values, error = given(pool.map(functions.identity, [*range(100), functions.Stubborn(), 1], chunksize=chunksize))
    assert values == list(range(100))
    assert isinstance(error, Unreadable)
    assert "ValueError('not here')" in str(error)


@pytest.mark.parametrize("chunksize", [None, 1, 2000], ids=str)
def test_a_result_that_cannot_travel_is_an_error_in_its_place(pool: ProcessPool, chunksize: int | None) -> None:
    """The message names the function and the type, and each item has run once."""
    values, error = given(pool.map(functions.lock_at_700, range(1000), chunksize=chunksize))
    assert values == list(range(700))
    assert isinstance(error, Unpicklable)
    assert "the result of lock_at_700 is a _thread.lock, which cannot be pickled" in str(error)


def test_a_stop_iteration_of_the_function_does_not_cut_the_results_short(pool: ProcessPool) -> None:
    """It is an error, as in `concurrent.futures`; nothing is left out without a word."""
    for arguments in ([range(10)], [range(10), range(10)]):
        values, error = given(pool.map(functions.stop_at_5, *arguments, chunksize=10))
        assert values == list(range(5))
        assert isinstance(error, RuntimeError)


def test_a_pool_that_is_shut_down_ends_the_maps_that_it_has_taken() -> None:
    """As in `concurrent.futures`: no result is missing."""
    pool = ProcessPool(2)
    results = pool.map(functions.double, range(30_000))
    assert next(results) == 0
    pool.shutdown(wait=False)
    assert list(results) == [2 * n for n in range(1, 30_000)]


def test_map_of_a_pool_that_was_shut_down_is_refused_at_once() -> None:
    """As in `concurrent.futures`."""
    closed = ProcessPool(1)
    closed.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        closed.map(functions.double, [1, 2])


@pytest.mark.parametrize("chunksize", [None, 1, 50], ids=str)
def test_a_crash_in_a_chunk_fails_only_the_item_that_crashes(gate: Gate, chunksize: int | None) -> None:
    """The results before it are given, those of its own chunk included."""
    with ProcessPool(2) as pool:
        values, error = given(pool.map(functions.crash_at_20, range(50), chunksize=chunksize))
        assert values == list(range(20))
        assert isinstance(error, WorkerCrashed)
        assert list(pool.map(functions.double, range(3))) == [0, 2, 4]


def test_a_chunk_whose_child_is_killed_runs_again(gate: Gate) -> None:
    """Item by item: who killed it cannot be told from outside, and nobody is to blame twice."""
    with ProcessPool(1) as pool:
        results = pool.map(functions.crash_once, [str(gate.folder / "crashed")] * 5, range(5), chunksize=5)
        assert list(results) == [0, 1, 2, 3, 4]


def test_the_children_of_a_map_are_those_of_the_pool(pool: ProcessPool) -> None:
    """It starts none of its own."""
    assert set(pool.map(functions.pid_of, range(200))) <= set(pool.pids) - {os.getpid()}
