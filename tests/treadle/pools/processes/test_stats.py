"""What a pool tells of itself."""

import concurrent.futures
from pathlib import Path

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, begin, eventually

from treadle import ProcessPool
from treadle.pools.stats import Histogram, Stats


def test_a_new_pool_has_nothing_to_tell() -> None:
    """And asking starts nothing."""
    with ProcessPool(2) as pool:
        assert pool.stats() == Stats(workers=0, busy=0, queued=0, done=0, restarts=0)


def test_calls_are_counted_where_they_stand(gate: Gate) -> None:
    """Those that run, those that wait, and those that have ended."""
    with ProcessPool(1) as pool:
        running = pool.submit(functions.wait_for, str(gate.path))
        waiting = [pool.submit(functions.double, number) for number in range(5)]
        eventually(lambda: pool.stats().busy == 1)
        before = pool.stats()
        assert (before.workers, before.queued, before.done, before.pids) == (1, 5, 0, tuple(pool.pids))
        gate.open()
        concurrent.futures.wait([running, *waiting], PATIENCE_S)
        eventually(lambda: pool.stats().busy == 0)
        after = pool.stats()
        assert (after.queued, after.done, after.restarts) == (0, 6, 0)
        assert sum(after.run_s.values()) == sum(after.wait_s.values()) == 6


def test_the_wait_of_a_call_that_was_taken_back_is_counted_once(gate: Gate) -> None:
    """From when it was sent until it was given for the last time."""
    with ProcessPool(1) as pool:
        for number in range(30):
            pool.submit(functions.apply, functions.double, number).result(PATIENCE_S)
        first, _ = begin(pool, gate)
        long = pool.submit(functions.apply, functions.wait_for, f"{gate.path}-2")
        behind = [pool.submit(functions.apply, functions.double, number) for number in range(20)]
        gate.open()
        first.result(PATIENCE_S)
        # Some are given behind the long one, of which nobody knew that it is; it does not let them wait.
        eventually(lambda: pool.stats().queued == len(behind))
        Path(f"{gate.path}-2").touch()
        concurrent.futures.wait([long, *behind], PATIENCE_S)
        assert sum(pool.stats().wait_s.values()) == sum(pool.stats().run_s.values()) == 30 + 2 + len(behind)


def test_every_call_ends_once_however_it_ends(gate: Gate) -> None:
    """Done counts values, errors, crashes and cancels, of those that run and of those that wait."""
    with ProcessPool(1) as pool:
        futures = [pool.submit(functions.double, 1), pool.submit(functions.fail_deep)]
        futures += [pool.submit(functions.kill_myself), pool.submit(functions.wait_for, str(gate.path))]
        concurrent.futures.wait(futures[:3], PATIENCE_S)
        eventually(futures[3].running)
        queued = [pool.submit(functions.double, 1) for _ in range(3)]
        assert [future.cancel() for future in queued] == [True] * 3
        assert futures[3].cancel()
        assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4
        eventually(lambda: pool.stats().done == 8)


def test_calls_that_a_shutdown_cancels_are_done() -> None:
    """They have ended, too."""
    with Gate() as gate:
        pool = ProcessPool(1)
        pool.submit(functions.wait_for, str(gate.path))
        for _ in range(3):
            pool.submit(functions.double, 1)
        eventually(lambda: pool.stats().busy == 1)
        pool.shutdown(wait=False, cancel_futures=True)
        gate.open()
        pool.shutdown()
        assert pool.stats().done == 4


def test_restarts_count_the_children_that_died() -> None:
    """And not those that were let go."""
    with ProcessPool(1, recycle_after_tasks=1) as pool:
        pool.submit(functions.double, 1).result(PATIENCE_S)
        pool.submit(functions.kill_myself).exception(PATIENCE_S)
        pool.submit(functions.double, 1).result(PATIENCE_S)
        # The one that killed itself had no call left that it might have run: it was leaving.
        assert pool.stats().restarts <= 1
    with ProcessPool(1) as pool:
        for _ in range(3):
            pool.submit(functions.kill_myself).exception(PATIENCE_S)
        pool.submit(functions.double, 1).result(PATIENCE_S)
        assert pool.stats().restarts == 3


@pytest.mark.parametrize(
    ("seconds", "below_s"), [(0.0, 1e-6), (1e-6, 2e-6), (0.001, 0.001024), (1.0, 1.048576), (3600.0, 4294.967296)]
)
def test_a_duration_is_counted_below_its_bound(seconds: float, below_s: float) -> None:
    """The next power of two of microseconds."""
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.snapshot() == {below_s: 1}
