"""`ProcessPool` as an Executor."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import apps, functions
from tests.helpers import PATIENCE_S, Gate, eventually, python

from treadle import ProcessPool, Unpicklable
from treadle.errors import ConfigurationError
from treadle.job import Progress
from treadle.pools.bounds import WhenFull
from treadle.pools.contract import Pool
from treadle.testing.pool_contract import PoolContract

MAIN = """
from treadle import ProcessPool

class Point:
    def __init__(self, x): self.x = x

def shift(point): return Point(point.x + 1)

if __name__ == "__main__":
    with ProcessPool(2) as pool:
        print([point.x for point in pool.map(shift, [Point(1), Point(2)])])
"""


class TestProcessPool(PoolContract):
    kills = maps = tells = bounds = True

    def make_pool(self) -> Pool:
        return ProcessPool(2)

    def make_bounded_pool(self, max_queue: int, when_full: WhenFull) -> Pool:
        return ProcessPool(1, max_queue=max_queue, when_full=when_full)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """One pool for the tests that leave it as it was."""
    with ProcessPool(2) as pool:
        yield pool


# Running


def test_nothing_starts_before_the_first_call() -> None:
    """A pool that is made at import costs nothing."""
    before = set(threading.enumerate())
    with ProcessPool(2) as pool:
        assert pool.pids == []
        # It is a thread that starts processes.
        assert set(threading.enumerate()) <= before
        pool.submit(functions.pid).result(PATIENCE_S)
        assert pool.pids != []


def test_functions_run_in_warm_children(pool: ProcessPool) -> None:
    """Not here, and again and again in the same processes."""
    pids = {pool.submit(functions.pid).result(PATIENCE_S) for _ in range(20)}
    assert pids <= set(pool.pids)
    assert os.getpid() not in pids
    assert not pool.in_process


def test_calls_run_on_every_child_at_once(pool: ProcessPool, gate: Gate) -> None:
    """Two calls that wait for each other both end."""
    futures = [pool.submit(functions.meet, str(gate.folder), 2, number) for number in range(2)]
    assert [future.result(PATIENCE_S) for future in futures] == [0, 1]


def test_large_values_travel(pool: ProcessPool) -> None:
    """Both ways, many times the buffer of a socket."""
    assert pool.submit(functions.length, bytes(20_000_000)).result(PATIENCE_S) == 20_000_000
    assert len(pool.submit(functions.make_bytes, 20_000_000).result(PATIENCE_S)) == 20_000_000


def test_many_large_calls_at_once_do_not_block_each_other(pool: ProcessPool) -> None:
    """Senders and the reader never wait for one another in a circle."""
    data = bytes(2_000_000)
    futures = [pool.submit(functions.identity, data) for _ in range(16)]
    assert all(future.result(PATIENCE_S) == data for future in futures)


def test_a_task_runs_its_function(pool: ProcessPool) -> None:
    """A decorated function, which pickle refuses, goes by its name."""
    assert pool.submit(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert list(pool.map(apps.string_length, ["a", "bc"])) == [1, 2]


def test_children_know_what_they_are(pool: ProcessPool) -> None:
    """And the owner is none."""
    assert pool.submit(functions.is_child).result(PATIENCE_S)
    assert not functions.is_child()


def test_children_do_not_share_their_random_numbers(gate: Gate) -> None:
    """Two children that draw at once draw different numbers."""
    with ProcessPool(2) as pool:
        ready = [pool.submit(functions.meet, str(gate.folder), 2, number) for number in range(2)]
        concurrent.futures.wait(ready)
        assert len({pool.submit(functions.draw).result(PATIENCE_S) for _ in range(4)}) == 4


@pytest.mark.parametrize(("options", "niceness"), [({}, 10), ({"nice": 7}, 7)], ids=["default", "given"])
def test_children_stand_back_behind_their_owner(options: dict[str, Any], niceness: int) -> None:
    """By 10, or by the niceness given."""
    with ProcessPool(1, **options) as pool:
        assert pool.submit(functions.niceness).result(PATIENCE_S) == min(19, os.nice(0) + niceness)


def test_what_a_function_prints_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    """On the owner's standard output, when the call has ended."""
    with ProcessPool(1) as pool:
        pool.submit(print, "from a child").result(PATIENCE_S)
    assert capfd.readouterr().out == "from a child\n"


def test_a_function_may_close_its_output() -> None:
    """Its child does not die of that."""
    with ProcessPool(1) as pool:
        assert pool.submit(functions.close_stdout).result(PATIENCE_S) == "closed"
        assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def test_functions_of_the_main_module_work(tmp_path: Path) -> None:
    """A script may use the pool on its own functions and classes."""
    (tmp_path / "script.py").write_text(MAIN)
    with python(str(tmp_path / "script.py")) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("[2, 3]\n", "")


def test_functions_of_a_module_run_by_name_work(tmp_path: Path) -> None:
    """`python -m` too."""
    (tmp_path / "script.py").write_text(MAIN)
    with python("-m", "script", env={"PYTHONPATH": str(tmp_path)}) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("[2, 3]\n", "")


def test_an_async_caller_can_await(pool: ProcessPool) -> None:
    """With the standard library's `wrap_future`."""

    async def call() -> int:
        return await asyncio.wrap_future(pool.submit(functions.double, 4))

    assert asyncio.run(call()) == 8


@pytest.mark.parametrize("way", ["map", "map_unordered"])
def test_a_result_of_a_map_is_kept_no_longer_than_its_user_does(pool: ProcessPool, way: str) -> None:
    """Also where many came in one chunk."""
    for found in getattr(pool, way)(functions.make_weak, range(6), chunksize=6):
        value = weakref.ref(found if way == "map" else found[1])
        del found
        assert value() is None


# Making ready


def test_the_initializer_runs_once_in_each_child() -> None:
    """With its arguments, before the first call."""
    with ProcessPool(1, initializer=functions.prepare, initargs=("ready",)) as pool:
        assert pool.submit(functions.what_was_prepared).result(PATIENCE_S) == ["ready"]
        assert pool.submit(functions.what_was_prepared).result(PATIENCE_S) == ["ready"]


def test_an_initializer_that_cannot_travel_is_refused_at_once() -> None:
    """When the pool is made."""
    with pytest.raises(Unpicklable, match="the initializer is a tuple, which cannot be pickled"):
        ProcessPool(1, initializer=lambda: None)


def test_an_interpreter_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match="missing', which is not a program; set WORKER_PYTHON"):
        ProcessPool(1, python=str(tmp_path / "missing"))


def test_an_interpreter_can_be_chosen() -> None:
    """Where `sys.executable` is not one, as under uWSGI."""
    with ProcessPool(1, python=sys.executable) as pool:
        assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


def test_a_pool_without_children_is_refused() -> None:
    """ValueError, with the number."""
    with pytest.raises(ValueError, match="max_workers must be greater than 0, got 0"):
        ProcessPool(0)


# Reports


def test_what_a_call_reports_after_its_end_is_lost(gate: Gate) -> None:
    """Whoever runs in its child then: a thread that it left behind does not speak for another call."""
    with ProcessPool(1) as pool:
        told: list[str] = []
        pool.call(functions.report_when_it_has_ended, (str(gate.folder),), on_progress=told.append).result(PATIENCE_S)
        gate.open()
        eventually((gate.folder / "reported").exists)
        other: list[str] = []
        assert pool.call(functions.double, (2,), on_progress=other.append).result(PATIENCE_S) == 4
        assert (told, other) == (["in time"], [])


def test_the_progress_of_a_task_arrives() -> None:
    """A task that takes a context reports to the call that runs it, its last progress included."""
    reports: list[object] = []
    with ProcessPool(1) as pool:
        pool.call(apps.count_to, (1000,), on_progress=reports.append).result(PATIENCE_S)
    assert reports[0] == Progress(1, 1000, "step 1")
    assert reports[-1] == Progress(1000, 1000, "step 1000")
    assert '"done"' in reports
    assert len(reports) < 100


def test_a_task_inside_a_task_does_not_report_for_it() -> None:
    """Called like any function, it reports to nobody."""
    reports: list[object] = []
    with ProcessPool(1) as pool:
        assert pool.call(functions.call_task_inside, on_progress=reports.append).result(PATIENCE_S) is None
        assert pool.submit(apps.count_to, 3).result(PATIENCE_S) is None
    assert reports == []


def test_children_know_the_key_of_their_owner_s_managers(pool: ProcessPool) -> None:
    """As children of multiprocessing do: without it a manager refuses them."""
    assert pool.submit(functions.authkey).result(PATIENCE_S) == multiprocessing.current_process().authkey


# Nested use


def test_a_pool_inside_a_child_runs_inline(pool: ProcessPool) -> None:
    """In that very process, whatever is called: no deadlock and no fork bomb."""
    child, ran_in = pool.submit(functions.pids_inside).result(PATIENCE_S)
    assert ran_in == {child}


def test_a_call_inside_a_child_tells_its_start_and_its_reports(pool: ProcessPool) -> None:
    """The contract holds inline, too."""
    assert pool.submit(functions.call_inside).result(PATIENCE_S) == (["started", "reported"], True)


def test_a_broken_process_pool_is_what_others_catch() -> None:
    """Code written for the standard library's pool catches our crash."""
    with ProcessPool(1) as own, pytest.raises(concurrent.futures.process.BrokenProcessPool):
        own.submit(functions.kill_myself).result(PATIENCE_S)
