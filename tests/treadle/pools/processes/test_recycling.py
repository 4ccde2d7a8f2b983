"""Children that are replaced, or leave because there is nothing to do."""

import os

import numpy as np
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive

from treadle import ProcessPool


def test_a_child_is_replaced_after_so_many_calls() -> None:
    """None runs more, none is lost, and the old ones are gone."""
    with ProcessPool(2, recycle_after_tasks=5) as pool:
        pids = [future.result(PATIENCE_S) for future in [pool.submit(functions.pid) for _ in range(60)]]
        assert max(pids.count(pid) for pid in pids) <= 5
        assert len(set(pids)) >= 12
        eventually(lambda: not any(is_alive(pid) for pid in set(pids) - set(pool.pids)))
        assert pool.stats().restarts == 0


def test_every_call_may_have_a_child_of_its_own() -> None:
    """With `recycle_after_tasks=1`."""
    with ProcessPool(2, recycle_after_tasks=1) as pool:
        pids = [pool.submit(functions.pid).result(PATIENCE_S) for _ in range(10)]
        assert len(set(pids)) == 10


def test_a_map_goes_on_while_children_are_replaced() -> None:
    """Its chunks are calls."""
    with ProcessPool(2, recycle_after_tasks=2) as pool:
        assert list(pool.map(functions.double, range(100), chunksize=5)) == [2 * n for n in range(100)]


def test_a_replacement_starts_before_the_old_child_leaves(gate: Gate) -> None:
    """So the next call does not wait for it."""
    with ProcessPool(1, recycle_after_tasks=1) as pool:
        running = pool.submit(functions.announce_and_wait, str(gate.folder / "pid"), str(gate.path))
        old = int(eventually(lambda: (gate.folder / "pid").exists() and (gate.folder / "pid").read_text()))
        eventually(lambda: pool.stats().busy == 1)
        gate.open()
        assert running.result(PATIENCE_S) == "open"
        assert pool.submit(functions.pid).result(PATIENCE_S) != old


def test_a_child_that_has_grown_is_replaced() -> None:
    """When its call has ended; one that has not stays."""
    with ProcessPool(1, recycle_over_rss_mb=300) as pool:
        small = pool.submit(functions.pid).result(PATIENCE_S)
        assert pool.submit(functions.pid).result(PATIENCE_S) == small
        assert pool.submit(functions.grow_for_good, 350).result(PATIENCE_S) == small
        assert pool.submit(functions.pid).result(PATIENCE_S) != small
        eventually(lambda: not is_alive(small))


def test_a_child_is_not_replaced_for_large_results() -> None:
    """Their memory is the owner's, however much of it a child has seen."""
    with ProcessPool(1, recycle_over_rss_mb=150) as pool:
        first = pool.submit(functions.pid).result(PATIENCE_S)
        for _ in range(10):
            results = [pool.submit(np.ones, 40_000_000, np.uint8) for _ in range(3)]
            assert all(result.result(PATIENCE_S)[-1] == 1 for result in results)
        assert pool.submit(functions.pid).result(PATIENCE_S) == first


def test_idle_children_leave_and_come_back() -> None:
    """With the process that forks them, and no sooner than there is work again."""
    with ProcessPool(2, idle_timeout_s=0.05) as pool:
        first = pool.submit(functions.pid).result(PATIENCE_S)
        eventually(lambda: pool.pids == [] and not is_alive(first))
        eventually(lambda: pool._crew._nursery._forker is None)
        assert pool.submit(functions.pid).result(PATIENCE_S) not in (first, os.getpid())


def test_a_busy_child_does_not_leave(gate: Gate) -> None:
    """However long its call takes."""
    with ProcessPool(2, idle_timeout_s=0.02) as pool:
        running = pool.submit(functions.wait_for, str(gate.path))
        other = pool.submit(functions.pid).result(PATIENCE_S)
        eventually(lambda: not is_alive(other))
        eventually(lambda: len(pool.pids) == 1)
        gate.open()
        assert running.result(PATIENCE_S) == "open"


def test_calls_that_come_while_children_leave_are_run() -> None:
    """Each is taken by a child that stays, or by a new one."""
    with ProcessPool(2, idle_timeout_s=0.005) as pool:
        for number in range(60):
            assert pool.submit(functions.double, number).result(PATIENCE_S) == 2 * number


def test_a_call_that_comes_as_the_last_child_has_left_is_run() -> None:
    """The process that forks them is about to go, too; another one is started."""
    with ProcessPool(1, idle_timeout_s=0.001) as pool:
        for number in range(8):
            assert pool.submit(functions.double, number).result(PATIENCE_S) == 2 * number
            while pool.pids:
                pass  # Without a pause: the moment that counts is short.
