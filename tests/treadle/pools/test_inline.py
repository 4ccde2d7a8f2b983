"""The pool that runs each call in its caller."""

import asyncio
import os

from tests import functions
from tests.helpers import PATIENCE_S

from treadle.pools.contract import Pool
from treadle.pools.inline import InlinePool, run_coroutine
from treadle.testing.pool_contract import PoolContract


class TestInlinePool(PoolContract):
    waits = False

    def make_pool(self) -> Pool:
        return InlinePool()


class TestInlinePoolWithAsyncFunctions(TestInlinePool):
    runs_async = True


def test_a_call_has_ended_when_call_returns() -> None:
    """In this process and this thread."""
    with InlinePool() as pool:
        future = pool.call(functions.pid)
        assert future.done()
        assert future.result() == os.getpid()
    assert pool.in_process


def test_an_async_function_runs_inside_a_running_loop() -> None:
    """The caller's loop is left alone: the coroutine has one of its own."""

    async def call() -> int:
        value: int = InlinePool().call(functions.double_soon, (3,)).result(PATIENCE_S)
        return value

    assert asyncio.run(call()) == 6


def test_reports_arrive_from_inside_a_running_loop() -> None:
    """Wherever the coroutine runs, it reports to the call that began it."""
    reports: list[str] = []

    async def call() -> None:
        InlinePool().call(functions.report_soon, ("a",), on_progress=reports.append).result(PATIENCE_S)

    asyncio.run(call())
    assert reports == ["a"]


def test_a_coroutine_is_run_to_its_end() -> None:
    """With or without a running loop."""
    assert run_coroutine(functions.double_soon(2)) == 4
