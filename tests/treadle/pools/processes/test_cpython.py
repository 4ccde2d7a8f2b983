"""CPython's own tests of executors, found under the interpreter and run on `ProcessPool`.

Each class takes all tests of one of theirs. Those that are defined here stand for tests of the same name that cannot
hold for this pool: `left_out` where they look at the standard library's inside, or written again where the claim
holds, or the opposite is promised.
"""

import gc
import logging
import multiprocessing.util
import os
import signal
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any
from unittest import mock

import pytest
from tests.cpython.executor import Forward, TreadleExecutor
from tests.helpers import PATIENCE_S, ROOT, eventually, is_alive

util: Any = pytest.importorskip(
    "test.test_concurrent_futures.util",
    reason="this interpreter lacks CPython's own tests of executors, the package test.test_concurrent_futures",
)
from test import support  # noqa: E402
from test.support import script_helper  # noqa: E402
from test.test_concurrent_futures import (  # noqa: E402
    executor,
    test_as_completed,
    test_deadlock,
    test_init,
    test_process_pool,
    test_shutdown,
    test_wait,
)

OFFER = f"import sys; sys.path.append({str(ROOT)!r}); import tests.cpython; tests.cpython.offer()\n"


def left_out(reason: str) -> Callable[[unittest.TestCase], None]:
    return unittest.skip(reason)(lambda self: None)


def run_program(option: str, program: str) -> Any:
    """`assert_python_ok` of a program that finds our class in `concurrent.futures`."""
    return script_helper.assert_python_ok(option, OFFER + program)


@pytest.fixture(scope="module", autouse=True)
def _end_resource_tracker() -> Iterator[None]:
    """A manager starts it, and it would stay."""
    yield
    multiprocessing.util._cleanup_tests()


class OnOurs(util.ExecutorMixin):
    """Their tests with our class; a child or a thread that is left is a failure, where they only warn."""

    executor_type = TreadleExecutor

    def get_context(self) -> Any:
        return multiprocessing.get_context("spawn")

    def setUp(self) -> None:
        support.environment_altered = False
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        self.assertFalse(support.environment_altered, "a process or a thread is left")


class WaitTest(test_wait.WaitTests, OnOurs, util.BaseTestCase):
    pass


class AsCompletedTest(test_as_completed.AsCompletedTests, OnOurs, util.BaseTestCase):
    pass


class InitializerTest(test_init.InitializerMixin, OnOurs, util.BaseTestCase):
    pass


class FailingInitializerTest(test_init.FailingInitializerMixin, OnOurs, util.BaseTestCase):
    def setUp(self) -> None:
        forward, logger = Forward(), logging.getLogger("treadle.pools")
        logger.addHandler(forward)
        self.addCleanup(logger.removeHandler, forward)
        super().setUp()


class DeadlockTest(test_deadlock.ExecutorDeadlockTest, OnOurs, util.BaseTestCase):
    test_gh105829_should_not_deadlock_if_wakeup_pipe_full = left_out("it replaces parts of ProcessPoolExecutor")


class ShutdownTest(test_shutdown.ProcessPoolShutdownTest, OnOurs, util.BaseTestCase):
    def setUp(self) -> None:
        replaced = mock.patch.object(test_shutdown, "assert_python_ok", run_program)
        replaced.start()
        self.addCleanup(replaced.stop)
        super().setUp()
        if self._testMethodName == "test_cancel_futures":
            self.end_when_a_call_has_started()

    def end_when_a_call_has_started(self) -> None:
        """Which that test takes for granted; here none starts before a child is there, and has taken its permit."""
        started, shutdown = threading.Event(), self.executor.shutdown
        self.executor.submit = lambda function, *args: self.executor.call(function, args, on_started=started.set)
        self.executor.shutdown = lambda **options: started.wait(PATIENCE_S) and shutdown(**options)

    def assert_all_end(self, pids: list[int]) -> None:
        self.assertTrue(pids)
        eventually(lambda: not any(map(is_alive, pids)))

    def test_processes_terminate(self) -> None:
        """Children that worked have ended when `shutdown` returns."""
        self.assertEqual(list(self.executor.map(abs, [-1, -2, -3])), [1, 2, 3])
        pids = self.executor.pids
        self.executor.shutdown()
        self.assertFalse(any(map(is_alive, pids)))

    def test_context_manager_shutdown(self) -> None:
        """Children have ended when the block has."""
        with self.executor_type(max_workers=5) as pool:
            self.assertEqual(list(pool.map(abs, range(-5, 5))), list(map(abs, range(-5, 5))))
            pids = pool.pids
        self.assertTrue(pids)
        self.assertFalse(any(map(is_alive, pids)))

    def test_del_shutdown(self) -> None:
        """Children end when nobody has the pool any more, which a map that goes on has."""
        pool = self.executor_type(max_workers=5)
        results = pool.map(abs, range(-5, 5))
        crew = pool._crew
        pids, manager = eventually(lambda: crew.pids), pool._executor_manager_thread
        del pool
        self.assertEqual(list(results), list(map(abs, range(-5, 5))))
        gc.collect()
        self.assert_all_end(pids)
        manager.join()

    def test_shutdown_no_wait(self) -> None:
        """Children end when the calls that were taken have."""
        pool = self.executor_type(max_workers=5)
        results = pool.map(abs, range(-5, 5))
        pids, manager = eventually(lambda: pool.pids), pool._executor_manager_thread
        pool.shutdown(wait=False)
        self.assertEqual(list(results), list(map(abs, range(-5, 5))))
        self.assert_all_end(pids)
        manager.join()


class ExecutorTest(test_process_pool.ProcessPoolExecutorTest, OnOurs, util.BaseTestCase):
    INSIDE = "it counts the stdlib's `_processes`; how many children there are is the subject of test_crew.py"
    test_saturation = left_out(INSIDE)
    test_idle_process_reuse_one = left_out(INSIDE)
    test_idle_process_reuse_multiple = left_out(INSIDE)
    test_max_workers_too_large = left_out("it is about a limit of Windows")
    test_python_finalization_error = left_out("it makes the stdlib's second thread fail; here there is one")
    test_max_tasks_per_child_defaults_to_spawn_context = left_out("there are no start methods to choose from")

    def test_killed_child(self) -> None:
        """The opposite: a child that is killed fails the call that it ran, and the next one is served."""
        # Killed before it has started, the call would run on another child.
        started = threading.Event()
        future = self.executor.call(time.sleep, (PATIENCE_S,), on_started=started.set)
        self.assertTrue(started.wait(PATIENCE_S))
        os.kill(self.executor.pids[0], signal.SIGKILL)
        self.assertRaises(BrokenProcessPool, future.result, PATIENCE_S)
        self.assertEqual(self.executor.submit(pow, 2, 8).result(PATIENCE_S), 256)

    def test_max_tasks_per_child(self) -> None:
        """Called `recycle_after_tasks`: three calls run in one child, the fourth in another."""
        with self.executor_type(1, recycle_after_tasks=3) as pool:
            first, *others, last = [pool.submit(os.getpid).result(PATIENCE_S) for _ in range(4)]
        self.assertEqual(others, [first, first])
        self.assertNotEqual(last, first)

    def test_max_tasks_early_shutdown(self) -> None:
        """Calls that were taken end although each needs a child of its own and the pool was shut down."""
        pool = self.executor_type(3, recycle_after_tasks=1)
        futures = [pool.submit(executor.mul, number, number) for number in range(6)]
        pool.shutdown()
        self.assertEqual([future.result() for future in futures], [executor.mul(n, n) for n in range(6)])
