"""Deaths of children, of each kind and in each situation: who is harmed, who is not, and what is left."""

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from tests import functions
from tests.helpers import (
    PATIENCE_S,
    Gate,
    begin,
    eventually,
    is_alive,
    is_asleep,
    leaving_nothing,
    segments,
    zygote_of,
)

from treadle import PoolBroken, ProcessPool, Unpicklable, Unreadable, WorkerCrashed
from treadle.pools.processes import schedule
from treadle.pools.processes.arena import Segment

IS_SOAK = "TREADLE_SOAK" in os.environ
LARGE_BYTES = 200_000_000


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with leaving_nothing():
        yield


def learn_that_it_is_quick(pool: ProcessPool) -> None:
    """Only calls of a function that was quick so far are given in batches."""
    for _ in range(30):
        pool.submit(functions.apply, functions.double, 0).result(PATIENCE_S)


def double_all(futures: list[Any]) -> bool:
    """Whether these futures of `double` have the results of 0, 1, 2, ..."""
    return [future.result(PATIENCE_S) for future in futures] == [2 * number for number in range(len(futures))]


# Each death in each situation


class Death(NamedTuple):
    function: Callable[..., Any]
    args: Callable[[Gate], tuple[Any, ...]]
    error: type[BaseException]
    exit_code: int | None = None
    is_struck: bool = False
    """The call announces itself, and its child is killed then."""


def announced(gate: Gate) -> tuple[str, str]:
    """Where a call announces itself, and the gate that never opens for it."""
    return str(gate.folder / "dying"), str(gate.folder / "never")


DEATHS = {
    "killed": Death(functions.announce_and_wait, announced, WorkerCrashed, -signal.SIGKILL, is_struck=True),
    "segfault": Death(functions.segfault, lambda _: (), WorkerCrashed, -signal.SIGSEGV),
    "exit": Death(functions.exit_at_once, lambda _: (7,), WorkerCrashed, 7),
    "argument": Death(functions.identity, lambda _: (functions.Stubborn(),), Unreadable),
    "result": Death(functions.make_lock, lambda _: (), Unpicklable),
    "killed while receiving": Death(
        functions.identity,
        lambda gate: (functions.SlowToUnpickle(LARGE_BYTES, *announced(gate)),),
        WorkerCrashed,
        -signal.SIGKILL,
        is_struck=True,
    ),
}


def idle(pool: ProcessPool, gate: Gate, submit: Callable[[Any], Any]) -> tuple[Any, list[Any]]:
    """Nothing else is there."""
    pool.submit(functions.pid).result(PATIENCE_S)
    return submit(functions.apply), []


def one_running(pool: ProcessPool, gate: Gate, submit: Callable[[Any], Any]) -> tuple[Any, list[Any]]:
    """Another call runs beside it until the dying one is submitted."""
    other, _ = begin(pool, gate)
    dying = submit(functions.apply)
    return dying, [other]


def full_batch(pool: ProcessPool, gate: Gate, submit: Callable[[Any], Any]) -> tuple[Any, list[Any]]:
    """It stands in the middle of many tiny calls, whose function is known to be quick."""
    learn_that_it_is_quick(pool)
    busy = [begin(pool, gate)[0] for _ in range(2)]
    tiny = [pool.submit(functions.apply, functions.double, number) for number in range(100)]
    dying = submit(functions.apply)
    tiny += [pool.submit(functions.apply, functions.double, number) for number in range(100, 200)]
    gate.open()
    return dying, busy + tiny


def nested(pool: ProcessPool, gate: Gate, submit: Callable[[Any], Any]) -> tuple[Any, list[Any]]:
    """It runs in a pool inside a child, and so does another."""
    return submit(functions.apply_inside), [pool.submit(functions.apply_inside, functions.wait_for, str(gate.path))]


def strike(gate: Gate) -> None:
    announcement = Path(announced(gate)[0])
    os.kill(int(eventually(lambda: announcement.exists() and announcement.read_text())), signal.SIGKILL)


@pytest.mark.parametrize("situation", [idle, one_running, full_batch, nested], ids=lambda it: it.__name__)
@pytest.mark.parametrize("name", DEATHS)
def test_a_death_fails_exactly_what_ran(name: str, situation: Callable[..., Any], gate: Gate) -> None:
    """Its call ends with the right error, all others with their results, and the pool serves on."""
    death = DEATHS[name]
    with ProcessPool(2) as pool:
        dying, others = situation(pool, gate, lambda apply: pool.submit(apply, death.function, *death.args(gate)))
        if death.is_struck:
            strike(gate)
        error = dying.exception(PATIENCE_S)
        gate.open()
        assert (type(error), getattr(error, "exit_code", None)) == (death.error, death.exit_code)
        tiny = [future for future in others if future.result(PATIENCE_S) != "open"]
        assert double_all(tiny)
        assert pool.submit(functions.double, 4).result(PATIENCE_S) == 8
        eventually(lambda: not any(segments(child) for child in pool.pids))


@pytest.mark.parametrize("situation", ["idle", "one_running", "full_batch", "nested"])
def test_a_death_while_its_owner_copies_fails_nothing(situation: str, gate: Gate) -> None:
    """The large call had not begun, so it runs on another child, as does what waited behind it."""
    apply = functions.apply_inside if situation == "nested" else functions.apply
    with ProcessPool(2 if situation == "one_running" else 1) as pool:
        other, busy = begin(pool, gate) if situation == "one_running" else (None, 0)
        pool.submit(functions.apply, functions.double, 0).result(PATIENCE_S)
        victims = set(pool.pids) - {busy}
        for child in victims:
            # However slow this test is, it cannot begin the call before it dies.
            os.kill(child, signal.SIGSTOP)
        with Copying(pool, apply, functions.length, bytearray(LARGE_BYTES)) as large:
            tiny = [pool.submit(functions.double, n) for n in range(200 * (situation == "full_batch"))]
            for child in victims:
                os.kill(child, signal.SIGKILL)
        assert large.result == LARGE_BYTES
        assert double_all(tiny)
        gate.open()
        assert other is None or other.result(PATIENCE_S) == "open"


class Copying:
    """A large call that is made in a thread; inside, its argument is being copied."""

    def __init__(self, pool: ProcessPool, *call: Any) -> None:
        self._pool = pool
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self.future: Any = None

    def _run(self) -> None:
        self.future = self._pool.submit(*self._call)

    def __enter__(self) -> Self:
        before = segments("self")
        self._thread.start()
        eventually(lambda: segments("self") > before)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    @property
    def result(self) -> Any:
        return self.future.result(PATIENCE_S)


# Death at the start


@pytest.mark.parametrize("which", [1, 2], ids=["the first", "the second"])
def test_a_child_that_dies_at_its_start_is_replaced(which: int, gate: Gate) -> None:
    """No call is lost by it, nor harmed."""
    with ProcessPool(2, initializer=functions.die_at_start, initargs=(str(gate.folder), which)) as pool:
        running, _ = begin(pool, gate)
        futures = [pool.submit(functions.apply_inside, functions.double, number) for number in range(50)]
        assert double_all(futures)
        gate.open()
        assert running.result(PATIENCE_S) == "open"


def test_an_initializer_that_fails_later_lets_what_runs_end(gate: Gate) -> None:
    """It breaks the pool, with its error as the cause, for what waits and what comes."""
    arguments = (str(gate.folder), 2, str(gate.folder))
    with ProcessPool(2, initializer=functions.fail_at_start, initargs=arguments) as pool:
        running, _ = begin(pool, gate)
        waiting = pool.submit(functions.double, 1).exception(PATIENCE_S)
        assert isinstance(waiting, PoolBroken)
        assert isinstance(waiting.__cause__, RuntimeError)
        with pytest.raises(PoolBroken, match="no licence for another one"):
            pool.submit(functions.double, 1)
        gate.open()
        assert running.result(PATIENCE_S) == "open"


def test_what_comes_back_to_a_broken_pool_fails(gate: Gate) -> None:
    """A call whose child dies before it starts has no other to go to; it ends all the same."""
    arguments = (str(gate.folder), 2, str(gate.folder / "second"))
    with ProcessPool(2, initializer=functions.fail_at_start, initargs=arguments) as pool:
        first, child = begin(pool, gate)
        second = pool.submit(functions.double, 1)
        eventually(lambda: (gate.folder / "arrivals").stat().st_size == 2)
        gate.open()
        assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == ("open", 2)
        os.kill(child, signal.SIGSTOP)
        given = pool.submit(functions.double, 2)
        (gate.folder / "second").touch()
        eventually(lambda: pool._crew.broken)
        os.kill(child, signal.SIGKILL)
        assert isinstance(given.exception(PATIENCE_S), PoolBroken)


# Death of the zygote


@pytest.mark.parametrize("situation", ["idle", "one_running", "full_batch", "nested"])
def test_the_death_of_the_zygote_fails_only_what_ran(situation: str, gate: Gate) -> None:
    """Its children die with it; what had not started goes to those of a new one."""
    with ProcessPool(2) as pool:
        learn_that_it_is_quick(pool)
        child = pool.submit(functions.pid).result(PATIENCE_S)
        apply = functions.apply_inside if situation == "nested" else functions.apply
        running = [] if situation == "idle" else [begin(pool, gate)[0]]
        running += [begin(pool, gate)[0]] if situation in ("full_batch", "nested") else []
        tiny = [pool.submit(apply, functions.double, n) for n in range(200)] if len(running) == 2 else []
        os.kill(zygote_of(child), signal.SIGKILL)
        assert all(isinstance(future.exception(PATIENCE_S), WorkerCrashed) for future in running)
        assert double_all(tiny)
        eventually(lambda: not is_alive(child))
        assert pool.submit(functions.double, 4).result(PATIENCE_S) == 8


def test_a_call_that_was_given_and_not_begun_when_the_zygote_died_runs_on_another() -> None:
    """Its child has died with the zygote, and never took the permit."""
    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        eventually(lambda: is_asleep(child))
        os.kill(child, signal.SIGSTOP)
        future = pool.submit(functions.double, 2)
        os.kill(zygote_of(child), signal.SIGKILL)
        assert future.result(PATIENCE_S) == 4


def test_the_death_of_the_zygote_while_many_children_start_breaks_nothing(gate: Gate) -> None:
    """It is one death, however many were on their way."""
    with ProcessPool(4, initializer=functions.wait_at_start, initargs=(str(gate.folder), 4, str(gate.path))) as pool:
        futures = [pool.submit(functions.double, number) for number in range(8)]
        eventually(lambda: len(pool.pids) == 4)
        os.kill(zygote_of(pool.pids[0]), signal.SIGKILL)
        gate.open()
        assert double_all(futures)


# Last words


def test_what_was_told_before_a_death_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, although a large result, whose memory came along, stands before it."""
    # They all go in one batch, however long a call took on a busy machine.
    monkeypatch.setattr(schedule, "SUPPLY_S", 1000.0)
    with ProcessPool(1) as pool, Gate() as gate:
        died: list[bool] = []
        first, child = begin(pool, gate)
        large = [pool.submit(functions.apply, functions.make_bytes, 1_000_000) for _ in range(2)]
        small = [pool.submit(functions.apply, functions.double, number) for number in range(3)]
        dying = pool.submit(functions.apply, functions.kill_myself)
        behind = [pool.submit(functions.apply, functions.double, number) for number in range(20)]
        first.add_done_callback(lambda _: died.append(eventually(lambda: not is_alive(child))))
        gate.open()
        # The pool's own thread stood still meanwhile: nobody has read what the child told.
        eventually(lambda: died)
        assert [len(future.result(PATIENCE_S)) for future in large] == [1_000_000] * 2
        assert double_all(small)
        assert isinstance(dying.exception(PATIENCE_S), WorkerCrashed)
        assert double_all(behind)


def test_a_call_that_was_cancelled_while_it_was_copied_does_not_run(gate: Gate, monkeypatch: Any) -> None:
    """Neither there nor, when the child that it was for has died, on another."""
    write, may_write = Segment.write, threading.Event()

    def write_later(segment: Segment, buffers: Any) -> Any:
        assert may_write.wait(PATIENCE_S)
        return write(segment, buffers)

    monkeypatch.setattr(Segment, "write", write_later)
    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        touched = gate.folder / "touched"
        with Copying(pool, functions.touch_and_forget, str(touched), bytearray(LARGE_BYTES)) as large:
            call = eventually(lambda: pool._crew._schedule.members and _reserved(pool))
            assert call.cancel()
            os.kill(child, signal.SIGKILL)
            assert pool.submit(functions.pid).result(PATIENCE_S) != child
            may_write.set()
        assert large.future.cancelled()
        assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2
        assert not touched.exists()


def _reserved(pool: ProcessPool) -> Any:
    return next((member.reserved_for for member in pool._crew._schedule.members.values()), None)


def test_a_copy_that_is_interrupted_does_not_keep_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets the KeyboardInterrupt, and the child the next call."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        with monkeypatch.context() as patch:
            patch.setattr(Segment, "write", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(functions.length, bytearray(1_000_000))
        assert pool.submit(functions.pid).result(PATIENCE_S) == child


# Chaos


class Killer:
    """Kills a random child every 10 ms: one that has run something."""

    def __init__(self, pool: ProcessPool, folder: Path) -> None:
        self.kills = 0
        self._pool = pool
        self._folder = folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over.wait(0.01):
            victims = [child for child in self._pool.pids if (self._folder / str(child)).exists()]
            if victims:
                with suppress(OSError):
                    self.strike(random.choice(victims))

    def strike(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        self.kills += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


class ZygoteKiller(Killer):
    """Kills its zygote instead, now and then: up to two calls run then."""

    def strike(self, child: int) -> None:
        if random.random() < 0.05:
            os.kill(zygote_of(child), signal.SIGKILL)
            self.kills += 2
        else:
            super().strike(child)


@pytest.mark.parametrize("killer", [Killer, ZygoteKiller])
def test_chaos_loses_nothing_and_runs_nothing_twice(killer: type[Killer], tmp_path: Path) -> None:
    """No more calls fail than were hit; what has given a result has run once, what has failed at most once."""
    seconds, count = (20, 50_000) if IS_SOAK else (2, 0)
    deadline_s = time.monotonic() + seconds
    futures: list[Any] = []
    # Not behind everybody else on a busy machine: they are to be killed while they work, and not while they wait.
    with ProcessPool(2, nice=0) as pool:
        with killer(pool, tmp_path) as chaos:
            while time.monotonic() < deadline_s or len(futures) < count:
                futures += [pool.submit(functions.record, str(tmp_path), len(futures) + n) for n in range(500)]
                wait(futures[-250:-249], timeout=0.2)
        errors = [future.exception(PATIENCE_S) for future in futures]
    runs = Counter(int(line) for file in tmp_path.iterdir() for line in file.read_text().split())
    failed = [number for number, error in enumerate(errors) if error is not None]
    assert all(isinstance(errors[number], WorkerCrashed) for number in failed)
    assert len(failed) <= chaos.kills
    assert all(runs[number] <= 1 for number in failed)
    assert all(runs[number] == 1 for number in set(range(len(futures))) - set(failed))


# What a task leaves behind in its child


@pytest.mark.parametrize("task", [functions.report_late, functions.report_from_a_fork], ids=["thread", "fork"])
def test_a_report_that_comes_after_its_call_is_lost(gate: Gate, task: Callable[..., Any]) -> None:
    """A thread or a fork of the task may send one when the task has ended; the pool serves on."""
    reports: list[Any] = []
    with ProcessPool(1) as pool:
        call = pool.call(task, (str(gate.path),), on_progress=reports.append)
        assert call.result(PATIENCE_S) == "returned"
        gate.open()
        eventually(Path(f"{gate.path}-reported").exists)
        assert pool.submit(functions.double, 4).result(PATIENCE_S) == 8
    assert reports == []


def test_a_callback_that_exits_on_a_crash_harms_nobody(gate: Gate) -> None:
    """SystemExit ends neither the pool's thread nor any other call."""
    with ProcessPool(1) as pool:
        crashing, child = begin(pool, gate)
        crashing.add_done_callback(lambda _: sys.exit(1))
        waiting = pool.submit(functions.double, 1)
        os.kill(child, signal.SIGKILL)
        assert isinstance(crashing.exception(PATIENCE_S), WorkerCrashed)
        assert waiting.result(PATIENCE_S) == 2
        assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4


def test_an_error_at_the_start_that_cannot_be_read_here_breaks_the_pool() -> None:
    """It is told in words, and ends nobody's thread."""
    with ProcessPool(1, initializer=functions.fail_unreadably, initargs=(os.getpid(),)) as pool:
        error = pool.submit(functions.double, 1).exception(PATIENCE_S)
        assert isinstance(error, PoolBroken)
        assert "not readable here" in str(error)
