"""Any `concurrent.futures.Executor` as a pool."""

import multiprocessing
import os
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import functions

from treadle.errors import LimitNotKept
from treadle.pools.executor import ExecutorPool
from treadle.testing.pool_contract import PoolContract

SPAWN = multiprocessing.get_context("spawn")
NOTHING = print, ()


class TestExecutorOfThreads(PoolContract):
    def make_pool(self) -> ExecutorPool:
        return ExecutorPool(lambda: ThreadPoolExecutor(2), NOTHING)


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=SPAWN)


def make_ready(folder: str) -> None:
    (Path(folder) / "ready").write_text(f"{functions.__name__}\n")


def is_ready(folder: str) -> str:
    return (Path(folder) / "ready").read_text()


def test_another_process_is_made_ready_once(tmp_path: Path) -> None:
    """Before its first call; the start is told as the call is handed over."""
    started: list[int] = []
    with ExecutorPool(processes, (make_ready, (str(tmp_path),))) as pool:
        for _ in range(2):
            call = pool.call(is_ready, (str(tmp_path),), on_started=lambda: started.append(1))
            assert call.result(60) == "tests.functions\n"
            (tmp_path / "ready").write_text("tests.functions\n")
    assert (pool.in_process, len(started)) == (False, 2)


def test_a_broken_executor_is_made_anew() -> None:
    """What ran in it fails, and the next call runs."""
    with ExecutorPool(processes, NOTHING) as pool:
        with pytest.raises(BrokenExecutor):
            pool.call(_die).result(60)
        assert pool.call(len, ("abc",)).result(60) == 3


def _die() -> None:
    os._exit(7)


def test_limits_are_refused() -> None:
    """No executor can keep one."""
    with ExecutorPool(lambda: ThreadPoolExecutor(1), NOTHING) as pool, pytest.raises(LimitNotKept, match="an Executor"):
        pool.call(len, ("abc",), timeout_s=1)
