"""What every pool must do, as tests: subclass `PoolContract`, give it your pool, run pytest.

    from treadle.testing.pool_contract import PoolContract

    class TestMyPool(PoolContract):
        kills = True                    # `kill` ends a call that runs
        def make_pool(self):
            return MyPool(...)          # with room for at least two calls at once, if it has any

The class attributes say what the pool can do; a test of what it cannot do passes without looking.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from treadle.errors import QueueFull
from treadle.pools.contract import Pool, report

PATIENCE_S = 40.0
"""How long a test waits for what must come; only a broken pool makes it wait so long."""
A_MOMENT_S = 0.1
"""How long a test looks whether something comes that must not."""
LOOK_EVERY_S = 0.005
GIVE_UP_S = 3 * PATIENCE_S
"""When a call no longer waits for its gate: its test has failed, and cannot end before the call does."""


class PoolContract:
    """The tests. Each docstring is a sentence that must hold of the pool."""

    kills: bool = False
    """`kill` ends a call while it runs."""
    waits: bool = True
    """`call` returns before the function has ended; False for a pool that runs it in the caller."""
    runs_async: bool = False
    """The pool runs async functions, and only those."""

    maps: bool = False
    """It has `map` and `map_unordered`, as ProcessPool has them."""
    tells: bool = False
    """It has `stats`."""
    bounds: bool = False
    """It has a bounded queue; then `make_bounded_pool` makes one."""

    def make_pool(self) -> Pool:
        """A new pool."""
        raise NotImplementedError

    def make_bounded_pool(self, max_queue: int, when_full: Literal["raise", "wait", "run"]) -> Pool:
        """A new pool with one place, in which so many calls may wait."""
        raise NotImplementedError

    @property
    def functions(self) -> Any:
        """The functions of the suite, in the form that the pool runs."""
        return AsyncFunctions if self.runs_async else Functions

    def test_a_call_gives_what_the_function_returns(self) -> None:
        """Arguments and keyword arguments arrive, and the future holds the value."""
        with self.make_pool() as pool:
            future = pool.call(self.functions.add, (1,), {"other": 2})
            assert future.result(PATIENCE_S) == 3
            assert future.done()

    def test_an_error_of_the_function_is_in_the_future(self) -> None:
        """What the function raises is raised by `result`, and the pool goes on."""
        with self.make_pool() as pool:
            future = pool.call(self.functions.fail, ("no such user",))
            error = future.exception(PATIENCE_S)
            assert isinstance(error, ValueError)
            assert str(error) == "no such user"
            assert pool.call(self.functions.add, (1, 2)).result(PATIENCE_S) == 3

    def test_arguments_that_do_not_fit_are_an_error_of_the_call(self) -> None:
        """A call with too many arguments ends with a TypeError, and does not hang."""
        with self.make_pool() as pool:
            future = pool.call(self.functions.add, (1, 2, 3, 4))
            assert isinstance(future.exception(PATIENCE_S), TypeError)

    def test_an_exit_of_the_function_is_in_the_future(self) -> None:
        """SystemExit ends the call and not the pool, as in `concurrent.futures`."""
        with self.make_pool() as pool:
            assert isinstance(pool.call(self.functions.leave).exception(PATIENCE_S), SystemExit)
            assert pool.call(self.functions.add, (1, 2)).result(PATIENCE_S) == 3

    def test_many_calls_all_end(self) -> None:
        """A hundred calls, more than there are places, give each its own result."""
        with self.make_pool() as pool:
            futures = [pool.call(self.functions.add, (number, 1)) for number in range(100)]
            assert [future.result(PATIENCE_S) for future in futures] == list(range(1, 101))

    def test_any_thread_may_call(self) -> None:
        """Threads that call at once get each their own results."""
        results: dict[int, int] = {}
        with self.make_pool() as pool:

            def call(number: int) -> None:
                results[number] = pool.call(self.functions.add, (number, number)).result(PATIENCE_S)

            threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert results == {number: 2 * number for number in range(8)}

    def test_the_start_is_told(self) -> None:
        """`on_started` is called once, before the future is done."""
        order: list[str] = []
        with self.make_pool() as pool:
            future = pool.call(self.functions.add, (1, 2), on_started=lambda: order.append("started"))
            future.result(PATIENCE_S)
            order.append("done")
        assert order == ["started", "done"]

    def test_reports_arrive_in_order(self) -> None:
        """What the function reports reaches `on_progress`, all of it before the result."""
        reports: list[Any] = []
        with self.make_pool() as pool:
            pool.call(self.functions.report_all, ([1, "two", 3.0],), on_progress=reports.append).result(PATIENCE_S)
            assert reports == [1, "two", 3.0]

    def test_reports_of_one_call_do_not_reach_another(self) -> None:
        """Each call has listeners of its own; without one a report is lost, and is no error."""
        reports: list[Any] = []
        with self.make_pool() as pool:
            pool.call(self.functions.report_all, ([1],)).result(PATIENCE_S)
            pool.call(self.functions.report_all, ([2],), on_progress=reports.append).result(PATIENCE_S)
            pool.call(self.functions.report_all, ([3],)).result(PATIENCE_S)
        assert reports == [2]

    def test_a_pool_that_was_shut_down_takes_no_calls(self) -> None:
        """`call` after `shutdown` raises RuntimeError."""
        pool = self.make_pool()
        pool.shutdown()
        try:
            pool.call(self.functions.add, (1, 2))
        except RuntimeError:
            return
        raise AssertionError("a RuntimeError was expected")

    def test_shutdown_waits_for_the_calls_taken(self) -> None:
        """With `wait` every future is done when `shutdown` returns."""
        pool = self.make_pool()
        futures = [pool.call(self.functions.add, (number, 1)) for number in range(20)]
        pool.shutdown(wait=True)
        assert all(future.done() and future.result() for future in futures)

    def test_shutdown_may_be_called_again(self) -> None:
        """A second `shutdown` is no error, and waits where it is asked to."""
        with Gate() as gate:
            pool = self.make_pool()
            future = self._begin(pool, gate)
            pool.shutdown(wait=False)
            gate.open()
            pool.shutdown(wait=True)
            assert future.done()
            pool.shutdown(wait=True)

    def test_shutdown_cancels_the_waiting_calls_where_asked(self) -> None:
        """`cancel_futures` cancels what has not started, and what has started ends."""
        if not self.waits:
            return
        with Gate() as gate:
            pool = self.make_pool()
            futures = self._fill(pool, gate)
            pool.shutdown(wait=False, cancel_futures=True)
            gate.open()
            pool.shutdown(wait=True)
            assert futures[0].result(PATIENCE_S) == "open"
            assert futures[-1].cancelled()
            assert all(future.done() for future in futures)

    def test_a_waiting_call_can_be_cancelled(self) -> None:
        """A call that was cancelled before it started never runs."""
        if not self.waits:
            return
        with Gate() as gate, self.make_pool() as pool:
            self._fill(pool, gate)
            future = pool.call(self.functions.touch, (str(gate.folder / "touched"),))
            assert future.cancel()
            gate.open()
            pool.shutdown()
            assert not (gate.folder / "touched").exists()

    def test_only_a_call_that_waits_is_cancelled_as_waiting(self) -> None:
        """`cancel_waiting` cancels what has not started, and lets go on what runs, whatever the pool can end."""
        if not self.waits:
            return
        with Gate() as gate, self.make_pool() as pool:
            running, *_, waiting = self._fill(pool, gate)
            assert pool.cancel_waiting(running) is False
            assert pool.cancel_waiting(waiting) is True
            gate.open()
            assert running.result(PATIENCE_S) == "open"
            assert pool.cancel_waiting(running) is False
            assert waiting.cancelled()

    def test_a_call_that_has_ended_cannot_be_killed(self) -> None:
        """`kill` of a finished call is False and leaves its result."""
        with self.make_pool() as pool:
            future = pool.call(self.functions.add, (1, 2))
            future.result(PATIENCE_S)
            assert pool.kill(future) is False
            assert future.result() == 3

    def test_a_waiting_call_can_be_killed(self) -> None:
        """`kill` of a call that has not started cancels it."""
        if not self.waits:
            return
        with Gate() as gate, self.make_pool() as pool:
            self._fill(pool, gate)
            future = pool.call(self.functions.add, (1, 2))
            assert pool.kill(future) is True
            gate.open()
            assert isinstance(_error(future), CancelledError)

    def test_a_running_call_can_be_killed(self) -> None:
        """`kill` ends a call that runs with CancelledError, harms no other, and the pool goes on."""
        if not self.kills:
            return
        with Gate() as gate, self.make_pool() as pool:
            future, other = self._begin(pool, gate), self._begin(pool, gate)
            assert pool.kill(future) is True
            assert isinstance(_error(future), CancelledError)
            gate.open()
            assert other.result(PATIENCE_S) == "open"
            assert pool.call(self.functions.add, (1, 2)).result(PATIENCE_S) == 3

    # map

    def test_map_gives_results_in_order(self) -> None:
        """Of one iterable or several, to the end of the shortest, whatever the chunks."""
        if not self.maps:
            return
        with self.make_pool() as made:
            pool: Any = made
            assert list(pool.map(self.functions.add, range(100), range(100))) == [2 * n for n in range(100)]
            assert list(pool.map(self.functions.add, range(3), [1, 1], chunksize=2)) == [1, 2]
            assert list(pool.map(self.functions.add, [], [])) == []

    def test_map_raises_an_error_in_its_place(self) -> None:
        """After the results before it."""
        if not self.maps:
            return
        with self.make_pool() as made:
            pool: Any = made
            results = pool.map(self.functions.add, [1, 2, "three"], [1, 1, 1], chunksize=1)
            assert [next(results), next(results)] == [2, 3]
            assert isinstance(_raised(lambda: next(results)), TypeError)

    def test_map_gives_up_after_its_time(self) -> None:
        """With TimeoutError; what had not started never runs."""
        if not self.maps:
            return
        with self.make_pool() as made, Gate() as gate:
            pool: Any = made
            self._fill(pool, gate)
            touched = gate.folder / "touched"
            error = _raised(lambda: list(pool.map(self.functions.touch, [str(touched)], timeout=0)))
            assert isinstance(error, TimeoutError)
            gate.open()
            pool.shutdown()
            assert not touched.exists()

    def test_map_unordered_gives_what_is_there(self) -> None:
        """Each result with the index of its item, and none waits for one before it."""
        if not self.maps:
            return
        with self.make_pool() as made, Gate() as gate:
            pool: Any = made
            # The second call finds its gate open: it is the folder.
            results = pool.map_unordered(self.functions.wait_for, [str(gate.path), str(gate.folder)], chunksize=1)
            assert next(results) == (1, "open")
            gate.open()
            assert list(results) == [(0, "open")]

    # stats

    def test_stats_count_what_runs_waits_and_has_ended(self) -> None:
        """And how long it waited and ran."""
        if not self.tells:
            return
        with self.make_pool() as made, Gate() as gate:
            pool: Any = made
            futures = self._fill(pool, gate)
            stats = pool.stats()
            assert stats.busy >= 1
            assert stats.queued >= 1
            assert stats.workers >= stats.busy
            gate.open()
            assert [future.result(PATIENCE_S) for future in futures] == ["open"] * len(futures)
            stats = pool.stats()
            assert (stats.done, stats.queued, stats.busy, stats.restarts) == (len(futures), 0, 0, 0)
            assert sum(stats.wait_s.values()) == sum(stats.run_s.values()) == len(futures)

    # A bounded queue

    def test_a_full_queue_refuses_a_call(self) -> None:
        """With QueueFull, where that was chosen; once there is room, it takes calls again."""
        if not self.bounds:
            return
        with self.make_bounded_pool(1, "raise") as pool, Gate() as gate:
            running = self._begin(pool, gate)
            waiting = pool.call(self.functions.add, (1, 1))
            assert isinstance(_raised(lambda: pool.call(self.functions.add, (1, 2))), QueueFull)
            assert waiting.cancel()
            again = pool.call(self.functions.add, (1, 3))
            gate.open()
            assert (running.result(PATIENCE_S), again.result(PATIENCE_S)) == ("open", 4)

    def test_a_call_waits_for_room(self) -> None:
        """Where that was chosen, `call` returns when fewer calls wait."""
        if not self.bounds:
            return
        taken = threading.Event()
        results: list[int] = []
        with self.make_bounded_pool(1, "wait") as pool, Gate() as gate:
            self._begin(pool, gate)
            pool.call(self.functions.add, (1, 1))

            def call() -> None:
                future = pool.call(self.functions.add, (1, 2))
                taken.set()
                results.append(future.result(PATIENCE_S))

            caller = threading.Thread(target=call)
            caller.start()
            assert not taken.wait(A_MOMENT_S)
            gate.open()
            caller.join(PATIENCE_S)
            assert results == [3]

    def test_a_call_without_room_runs_in_its_caller(self) -> None:
        """Where that was chosen, with its start and its reports."""
        if not self.bounds:
            return
        seen: list[Any] = []
        with self.make_bounded_pool(1, "run") as pool, Gate() as gate:
            self._begin(pool, gate)
            pool.call(self.functions.add, (1, 1))
            future = pool.call(
                self.functions.report_all, (["a"],), on_started=lambda: seen.append("start"), on_progress=seen.append
            )
            assert future.done()
            assert seen == ["start", "a"]

    def test_submit_is_bounded_too(self) -> None:
        """`submit` minds the bound as `call` does."""
        if not self.bounds:
            return
        with self.make_bounded_pool(1, "raise") as made, Gate() as gate:
            pool: Any = made
            self._begin(pool, gate)
            pool.submit(self.functions.add, 1, 1)
            assert isinstance(_raised(lambda: pool.submit(self.functions.add, 1, 2)), QueueFull)

    def _begin(self, pool: Pool, gate: "Gate") -> "Future[Any]":
        """A call that runs until the gate opens; a pool that cannot wait finds it open."""
        if not self.waits:
            gate.open()
        started = threading.Event()
        future = pool.call(self.functions.wait_for, (str(gate.path),), on_started=started.set)
        assert started.wait(PATIENCE_S)
        return future

    def _fill(self, pool: Pool, gate: "Gate") -> "list[Future[Any]]":
        """So many calls that some run and the others wait, until the gate opens."""
        futures = [self._begin(pool, gate)]
        futures += [pool.call(self.functions.wait_for, (str(gate.path),)) for _ in range(PLENTY)]
        return futures


PLENTY = 20
"""More calls than a pool under test has places."""


class Gate:
    """Something closed that a function in any process can wait for: a file that is not there yet."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.path = self.folder / "open"

    def open(self) -> None:
        self.path.touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._folder.cleanup()


class Functions:
    """What the suite runs."""

    @staticmethod
    def add(one: int, other: int) -> int:
        return one + other

    @staticmethod
    def fail(message: str) -> None:
        raise ValueError(message)

    @staticmethod
    def leave() -> None:
        raise SystemExit(3)

    @staticmethod
    def report_all(values: list[Any]) -> None:
        for value in values:
            report(value)

    @staticmethod
    def touch(path: str) -> None:
        Path(path).touch()

    @staticmethod
    def wait_for(path: str) -> str:
        deadline_s = time.monotonic() + GIVE_UP_S
        while not (state := _state_of(path, deadline_s)):
            time.sleep(LOOK_EVERY_S)
        return state


class AsyncFunctions:
    """The same, as coroutines."""

    @staticmethod
    async def add(one: int, other: int) -> int:
        return Functions.add(one, other)

    @staticmethod
    async def fail(message: str) -> None:
        Functions.fail(message)

    @staticmethod
    async def leave() -> None:
        Functions.leave()

    @staticmethod
    async def report_all(values: list[Any]) -> None:
        Functions.report_all(values)

    @staticmethod
    async def touch(path: str) -> None:
        Functions.touch(path)

    @staticmethod
    async def wait_for(path: str) -> str:
        deadline_s = time.monotonic() + GIVE_UP_S
        while not (state := _state_of(path, deadline_s)):  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(LOOK_EVERY_S)
        return state


def _state_of(gate: str, deadline_s: float) -> str:
    """`open`, or nothing while it is closed; `gone` with its folder, or in the end: a call must not outlive its test."""
    if os.path.exists(gate):
        return "open"
    return "" if os.path.exists(os.path.dirname(gate)) and time.monotonic() < deadline_s else "gone"


def _raised(step: Callable[[], object]) -> Exception | None:
    """What a step raises."""
    try:
        step()
    except Exception as error:
        return error
    return None


def _error(future: "Future[Any]") -> BaseException | None:
    """What a future ends with, its own cancellation included."""
    try:
        return future.exception(PATIENCE_S)
    except CancelledError as cancelled:
        return cancelled
