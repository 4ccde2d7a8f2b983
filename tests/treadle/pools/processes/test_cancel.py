"""`cancel` of a call, wherever it stands."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive

from treadle import ProcessPool, TaskTimeout
from treadle.pools.processes import schedule


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(1) as pool:
        yield pool


def begin(pool: ProcessPool, gate: Gate, **limits: Any) -> tuple["concurrent.futures.Future[Any]", int]:
    """A call that waits for the gate, and the child that runs it."""
    started = gate.folder / f"started-{len(list(gate.folder.iterdir()))}"
    future = pool.call(functions.announce_and_wait, (str(started), str(gate.path)), **limits)
    return future, int(eventually(lambda: started.exists() and started.read_text()))


@pytest.fixture
def _what_was_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what stands behind a call that takes long is soon in the queue again."""
    monkeypatch.setattr(schedule, "STALLED_S", 1000)


def begin_with_more_behind(pool: ProcessPool, gate: Gate, count: int) -> list["concurrent.futures.Future[Any]"]:
    """A call that waits for the gate and, some of them given to its child with it, as many that leave a file each."""
    # Only calls of a function that was quick so far are given in batches.
    pool._functions.find(functions.touch_or_wait).mean_s = 1e-6
    paths = [str(gate.folder / f"ran-{number}") for number in range(count)]
    first = pool.submit(functions.wait_for, str(gate.folder / "begin"))
    batch: list[Any] = [pool.submit(functions.touch_or_wait, str(gate.folder / "blocked"), str(gate.path))]
    batch += [pool.submit(functions.touch_or_wait, path, None) for path in paths]
    (gate.folder / "begin").touch()
    first.result(PATIENCE_S)
    eventually((gate.folder / "blocked").exists)
    assert all(call.member is not None for call in batch[:4])
    return batch


# Before it starts


def test_a_cancelled_call_in_the_queue_never_runs(pool: ProcessPool, gate: Gate) -> None:
    """And those around it do."""
    blocking, _ = begin(pool, gate)
    paths = [gate.folder / name for name in "abc"]
    futures = [pool.submit(functions.touch, str(path)) for path in paths]
    assert futures[1].cancel()
    assert futures[1].cancelled()
    gate.open()
    concurrent.futures.wait([blocking, *futures], PATIENCE_S)
    pool.shutdown()
    assert [path.exists() for path in paths] == [True, False, True]


@pytest.mark.usefixtures("_what_was_given_stays")
def test_a_call_in_a_batch_can_be_cancelled_before_it_starts(pool: ProcessPool, gate: Gate) -> None:
    """Its child was given it already, and never runs it; nothing is killed."""
    batch = begin_with_more_behind(pool, gate, 10)
    child = pool.pids
    assert [future.cancel() for future in batch[1::2]] == [True] * 5
    gate.open()
    concurrent.futures.wait(batch, PATIENCE_S)
    assert [future.cancelled() for future in batch] == [False, *[True, False] * 5]
    assert sorted(file.name for file in gate.folder.glob("ran-*")) == [f"ran-{number}" for number in range(1, 10, 2)]
    assert pool.pids == child


@pytest.mark.parametrize("of", [b"small", bytes(1_000_000)], ids=["small", "large"])
def test_a_cancelled_call_of_any_size_makes_room_for_the_next(pool: ProcessPool, gate: Gate, of: bytes) -> None:
    """The queue moves on."""
    blocking, _ = begin(pool, gate)
    futures = [pool.submit(functions.length, of) for _ in range(10)]
    assert all(future.cancel() for future in futures[:9])
    gate.open()
    assert futures[9].result(PATIENCE_S) == len(of)
    assert blocking.result(PATIENCE_S) == "open"


@pytest.mark.usefixtures("_what_was_given_stays")
def test_a_shutdown_that_cancels_takes_back_what_was_sent(pool: ProcessPool, gate: Gate) -> None:
    """What stands behind a running call in its child has not started, and never does."""
    batch = begin_with_more_behind(pool, gate, 10)
    pool.shutdown(wait=False, cancel_futures=True)
    assert [future.cancelled() for future in batch] == [False, *[True] * 10]
    gate.open()
    pool.shutdown()
    assert batch[0].exception(PATIENCE_S) is None
    assert not list(gate.folder.glob("ran-*"))


# While it runs


def test_cancel_of_a_running_call_kills_its_child(pool: ProcessPool, gate: Gate) -> None:
    """`cancel` is True, the future is cancelled, and the pool serves on."""
    future, child = begin(pool, gate)
    assert future.running()
    assert future.cancel()
    assert (future.cancelled(), future.done(), future.running()) == (True, True, False)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE_S)
    eventually(lambda: not is_alive(child))
    assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def test_a_running_call_may_be_cancelled_twice(pool: ProcessPool, gate: Gate) -> None:
    """By any number of threads, also before its child is dead; each is told True."""
    future, _ = begin(pool, gate)
    told: list[bool] = []
    threads = [threading.Thread(target=lambda: told.append(future.cancel())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert told == [True] * 8
    assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def test_a_second_cancel_before_the_child_is_dead_is_true(pool: ProcessPool, gate: Gate) -> None:
    """It changes nothing."""
    future, _ = begin(pool, gate)
    call: Any = future
    with call.crew._lock:  # Nobody hears of the death meanwhile.
        assert future.cancel()
        assert future.cancel()
    assert future.cancelled()


def test_who_waits_sees_a_cancel(pool: ProcessPool, gate: Gate) -> None:
    """`wait`, `as_completed` and callbacks, although the call was running."""
    future, _ = begin(pool, gate)
    told = threading.Event()
    future.add_done_callback(lambda done: told.set() if done.cancelled() else None)
    seen: list[bool] = []
    waiters = [
        threading.Thread(target=lambda: seen.append(future in concurrent.futures.wait([future], PATIENCE_S).done)),
        threading.Thread(target=lambda: seen.append(future in concurrent.futures.as_completed([future], PATIENCE_S))),
    ]
    for waiter in waiters:
        waiter.start()
    eventually(lambda: len(future._waiters) == 2)  # type: ignore[attr-defined]
    future.cancel()
    for waiter in waiters:
        waiter.join(PATIENCE_S)
    assert seen == [True, True]
    assert told.is_set()


def test_asyncio_sees_a_cancel_and_cancels(pool: ProcessPool, gate: Gate) -> None:
    """Both ways through `wrap_future`: so `asyncio.wait_for` kills what takes too long."""
    seen, _ = begin(pool, gate)

    async def wait(future: "concurrent.futures.Future[Any]", *, cancel: bool) -> bool:
        wrapped = asyncio.wrap_future(future)
        asyncio.get_running_loop().call_soon(future.cancel if cancel else wrapped.cancel)
        await asyncio.wait([wrapped], timeout=PATIENCE_S)
        return wrapped.cancelled()

    assert asyncio.run(wait(seen, cancel=True))
    cancelled, child = begin(pool, gate)
    assert asyncio.run(wait(cancelled, cancel=False))
    eventually(cancelled.cancelled)
    eventually(lambda: not is_alive(child))


@pytest.mark.usefixtures("_what_was_given_stays")
def test_what_stands_behind_a_cancelled_call_runs_elsewhere_once(pool: ProcessPool, gate: Gate) -> None:
    """It was given to the same child, which is killed."""
    batch = begin_with_more_behind(pool, gate, 10)
    assert batch[0].cancel()
    assert [future.result(PATIENCE_S) for future in batch[1:]] == [1] * 10
    assert len(list(gate.folder.glob("ran-*"))) == 10
    pool.shutdown()
    # With the two before them.
    assert pool.stats().done == 12


def test_a_call_is_cancelled_however_quickly_its_child_dies(pool: ProcessPool, gate: Gate) -> None:
    """The pool's thread may hear of the death before the thread that cancels has told the future."""
    future, _ = begin(pool, gate)
    call: Any = future
    conclude, here = call.conclude_cancelled, threading.current_thread()

    def conclude_late() -> None:
        if threading.current_thread() is here:
            eventually(call.done)
        conclude()

    call.conclude_cancelled = conclude_late
    assert call.cancel()
    assert call.cancelled()


def test_a_cancel_is_not_taken_back_by_a_limit(pool: ProcessPool, gate: Gate) -> None:
    """The time of a call that was cancelled runs out while its child dies: nothing comes of it."""
    future, _ = begin(pool, gate, timeout_s=1000)
    call: Any = future
    with call.crew._lock:
        assert future.cancel()
        call.crew._end_for(call, TaskTimeout("too late"))
    assert future.cancelled()
    assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def test_a_call_that_reports_often_keeps_nothing_behind_it(pool: ProcessPool, gate: Gate) -> None:
    """A report is no end: what was given to its child with it is taken back all the same."""
    first_gate = gate.folder / "first"

    def report(path: Path) -> Any:
        return pool.call(functions.report_until, (str(path),), on_progress=lambda _: None)

    for _ in range(30):
        report(gate.folder).result(PATIENCE_S)
    first = pool.submit(functions.wait_for, str(first_gate))
    reporting, *behind = [report(gate.path if number == 0 else gate.folder) for number in range(60)]
    first_gate.touch()
    first.result(PATIENCE_S)
    (member,) = pool._crew._schedule.members.values()
    eventually(lambda: list(member.given) == [reporting])
    gate.open()
    assert not concurrent.futures.wait([reporting, *behind], PATIENCE_S).not_done


# When it has ended


@pytest.mark.parametrize("function", [functions.double, functions.fail_deep], ids=["a value", "an error"])
def test_a_call_that_has_ended_cannot_be_cancelled(pool: ProcessPool, function: Any) -> None:
    """False, and what it gave stays."""
    future = pool.submit(function, *([2] if function is functions.double else []))
    concurrent.futures.wait([future], PATIENCE_S)
    child = pool.pids
    assert not future.cancel()
    assert not future.cancelled()
    assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4
    assert pool.pids == child


def test_a_call_that_crashed_cannot_be_cancelled(pool: ProcessPool) -> None:
    """False, and its error stays."""
    future = pool.submit(functions.kill_myself)
    error = future.exception(PATIENCE_S)
    assert not future.cancel()
    assert future.exception() is error


def test_random_cancels_lose_nothing_and_run_nothing_twice(tmp_path: Path) -> None:
    """Each call has run exactly once, or was cancelled; one that was cancelled has run once at most."""
    with ProcessPool(2) as pool:
        futures = [pool.submit(functions.append_to, str(tmp_path / f"{number}")) for number in range(600)]
        said = {number: futures[number].cancel() for number in range(0, 600, 7)}
        concurrent.futures.wait(futures, PATIENCE_S)
    runs = [(tmp_path / f"{n}").read_text() if (tmp_path / f"{n}").exists() else "" for n in range(600)]
    assert all(futures[number].cancelled() == was for number, was in said.items())
    for number, future in enumerate(futures):
        assert runs[number] in (("", ".") if future.cancelled() else (".",)), number
