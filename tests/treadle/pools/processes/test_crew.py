"""The children of a pool: their deaths, and their end with their owner."""

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive, is_asleep, open_files, python

from treadle import PoolBroken, ProcessPool, WorkerCrashed

OWNER = """
import sys
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(2)
futures = [pool.submit(getattr(functions, sys.argv[1]), *sys.argv[2 + n::2]) for n in range(2)]
[future.result() for future in futures]
"""

IDLE_OWNER = """
import os, signal
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(1)
print(pool.submit(functions.pid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

FORK = """
import os
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(1)
mine = pool.submit(functions.pid).result()
if os.fork() == 0:
    theirs = pool.submit(functions.pid).result(10)
    assert theirs != mine
    pool.shutdown()
    os._exit(0)
assert os.wait()[1] == 0
assert pool.submit(functions.pid).result(10) == mine
pool.shutdown()
"""

UNFINISHED = """
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(1)
pool.submit(print, "taken")
"""

MAPS = """
import sys
from pathlib import Path
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(2)
results = pool.map(functions.touch, [f"{sys.argv[1]}/{number}" for number in range(100)])
"""

DROPPED_MAP = """
import gc, sys, threading
from pathlib import Path
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(1)
gate = Path(sys.argv[1])
# More than one chunk could hold, so that there is always another to send.
results = pool.map(functions.wait_for, ["/", str(gate), *["/"] * 200_000])
next(results)
(run,) = pool._crew.maps
is_sending, is_locked, send = threading.Event(), threading.Event(), run._send

def send_when_locked(items):
    is_sending.set()
    is_locked.wait()
    return send(items)

gc.disable()
cycle = [results]
cycle.append(cycle)
run._send = send_when_locked
del results, cycle, run
gate.touch()
is_sending.wait()
with pool._crew._lock:
    is_locked.set()
    gc.collect()
pool.shutdown()
"""


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(2) as pool:
        yield pool


def begin(pool: ProcessPool, gate: Gate) -> tuple[Any, int]:
    """A call that waits for the gate, and the child that runs it."""
    started = gate.folder / f"started-{len(list(gate.folder.iterdir()))}"
    future = pool.submit(functions.announce_and_wait, str(started), str(gate.path))
    return future, int(eventually(lambda: started.exists() and started.read_text()))


# Death of a child


@pytest.mark.parametrize(
    ("function", "args", "code", "told"),
    [
        (functions.kill_myself, (), -signal.SIGKILL, "killed by SIGKILL"),
        (functions.segfault, (), -signal.SIGSEGV, "killed by SIGSEGV"),
        (functions.exit_at_once, (7,), 7, "exit code 7"),
        (functions.exit_at_once, (0,), 0, "exit code 0"),
    ],
    ids=["killed", "segfault", "exit 7", "exit 0"],
)
def test_a_death_fails_the_call_that_ran(
    pool: ProcessPool, function: Callable[..., Any], args: tuple[Any, ...], code: int, told: str
) -> None:
    """WorkerCrashed, with the signal or the exit code, and the pool serves on."""
    error = pool.submit(function, *args).exception(PATIENCE_S)
    assert isinstance(error, WorkerCrashed)
    assert (error.exit_code, str(error)) == (code, f"the process that ran the call died: {told}")
    assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


def test_a_death_harms_no_other_call(pool: ProcessPool, gate: Gate) -> None:
    """The call beside it and those in the queue end as if nothing had happened."""
    beside, _ = begin(pool, gate)
    dying = pool.submit(functions.kill_myself)
    queued = [pool.submit(functions.double, number) for number in range(20)]
    assert isinstance(dying.exception(PATIENCE_S), WorkerCrashed)
    gate.open()
    assert beside.result(PATIENCE_S) == "open"
    assert [future.result(PATIENCE_S) for future in queued] == [2 * number for number in range(20)]


def test_many_deaths_fail_as_many_calls(pool: ProcessPool) -> None:
    """Each its own, and every other call gives its result."""
    calls = [
        pool.submit(functions.kill_myself) if number % 3 == 0 else pool.submit(functions.double, number)
        for number in range(15)
    ]
    for number, future in enumerate(calls):
        if number % 3 == 0:
            assert isinstance(future.exception(PATIENCE_S), WorkerCrashed)
        else:
            assert future.result(PATIENCE_S) == 2 * number


def test_a_death_in_a_chunk_is_raised_by_map(pool: ProcessPool) -> None:
    """And the next `map` works."""
    with pytest.raises(WorkerCrashed):
        list(pool.map(functions.kill_myself, range(3)))
    assert list(pool.map(functions.double, range(3))) == [0, 2, 4]


def test_an_idle_child_that_is_killed_is_replaced() -> None:
    """A call that comes after its death runs on another one."""
    with ProcessPool(1) as pool:
        for _ in range(10):
            child = pool.submit(functions.pid).result(PATIENCE_S)
            os.kill(child, signal.SIGKILL)
            eventually(partial(_is_dead, child))
            assert pool.submit(functions.pid).result(PATIENCE_S) != child


def test_a_call_that_a_child_had_not_started_when_it_died_runs_on_another() -> None:
    """It was given to the child, and its permit was not taken: what was never begun is no loss."""
    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        eventually(lambda: is_asleep(child))
        os.kill(child, signal.SIGSTOP)
        future = pool.submit(functions.double, 2)
        os.kill(child, signal.SIGKILL)
        assert future.result(PATIENCE_S) == 4


def test_a_callback_that_fails_harms_nobody(pool: ProcessPool, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the call and the pool go on."""

    def fail(*_: object) -> None:
        raise RuntimeError("a callback is broken")

    future = pool.call(functions.report_soon_plain, ("a",), on_started=fail, on_progress=fail)
    assert future.result(PATIENCE_S) == "a"
    assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2
    assert caplog.text.count("a callback of a call raised") == 2


def test_the_start_of_a_call_that_stood_behind_another_is_told(gate: Gate) -> None:
    """While it runs, though its child says nothing of it; and once."""
    with ProcessPool(1) as pool:
        pool._functions.find(functions.touch_or_wait).mean_s = 1e-6
        started = threading.Semaphore(0)
        first = pool.submit(functions.wait_for, str(gate.folder / "begin"))
        pool.submit(functions.touch_or_wait, str(gate.folder / "quick"), None)
        behind = pool.call(
            functions.touch_or_wait, (str(gate.folder / "blocked"), str(gate.path)), on_started=started.release
        )
        others = [pool.submit(functions.double, 1) for _ in range(2)]
        (gate.folder / "begin").touch()
        assert started.acquire(timeout=PATIENCE_S)
        assert not behind.done()
        gate.open()
        wait([first, behind, *others], PATIENCE_S)
        assert not started.acquire(blocking=False)


def test_a_callback_of_a_future_may_call_the_pool(pool: ProcessPool) -> None:
    """It runs in the pool's own thread, which must not wait for itself."""
    second: list[Any] = []
    done = threading.Event()
    first = pool.submit(functions.double, 1)

    def call_again(_: object) -> None:
        second.append(pool.submit(functions.double, 2))
        done.set()

    first.add_done_callback(call_again)
    assert done.wait(PATIENCE_S)
    assert second[0].result(PATIENCE_S) == 4


# Killing a call


def test_a_killed_call_harms_no_other(pool: ProcessPool, gate: Gate) -> None:
    """Its process dies with it, and the one beside runs on."""
    killed, child = begin(pool, gate)
    beside, _ = begin(pool, gate)
    assert pool.kill(killed)
    assert killed.cancelled()
    eventually(lambda: not is_alive(child))
    gate.open()
    assert beside.result(PATIENCE_S) == "open"


def test_a_kill_reaches_what_the_call_has_started(gate: Gate) -> None:
    """Grandchildren die with the child."""
    with ProcessPool(1) as pool:
        grandchild = pool.submit(functions.start_grandchild).result(PATIENCE_S)
        running, _ = begin(pool, gate)
        assert is_alive(grandchild)
        assert pool.kill(running)
        eventually(lambda: not is_alive(grandchild))


def test_a_death_is_noticed_although_a_grandchild_holds_the_socket() -> None:
    """The future of a dead child fails at once, whoever else lives."""
    with ProcessPool(1) as pool:
        pool.submit(functions.start_grandchild).result(PATIENCE_S)
        assert isinstance(pool.submit(functions.kill_myself).exception(PATIENCE_S), WorkerCrashed)
        assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


@pytest.mark.parametrize("has_grandchild", [False, True], ids=["alone", "with a grandchild"])
def test_a_death_while_a_large_call_is_on_its_way_loses_nothing(has_grandchild: bool) -> None:
    """The call was not begun, so it runs on another child; who holds the dead one's socket does not matter."""
    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        if has_grandchild:
            pool.submit(functions.start_grandchild).result(PATIENCE_S)
        os.kill(child, signal.SIGSTOP)
        future = pool.submit(functions.length, bytes(20_000_000))
        os.kill(child, signal.SIGKILL)
        assert future.result(PATIENCE_S) == 20_000_000


# Children that cannot be made ready


def test_an_initializer_that_raises_breaks_the_pool() -> None:
    """PoolBroken, for calls that wait and for later ones, with the remote error as its cause."""
    with ProcessPool(2, initializer=functions.fail_to_prepare) as pool:
        futures = [pool.submit(functions.double, number) for number in range(3)]
        for future in futures:
            error = future.exception(PATIENCE_S)
            assert isinstance(error, PoolBroken)
            assert "no licence for this machine" in str(error)
            assert isinstance(error.__cause__, RuntimeError)
            assert "in fail_to_prepare" in str(error.__cause__.__cause__)
        with pytest.raises(PoolBroken, match="no licence"):
            pool.submit(functions.double, 1)


def test_children_that_die_while_starting_break_the_pool() -> None:
    """After a few tries, so that nothing hangs and no machine is kept busy with it."""
    with ProcessPool(2, initializer=functions.die_while_preparing) as pool:
        error = pool.submit(functions.double, 1).exception(PATIENCE_S)
        assert isinstance(error, PoolBroken)
        assert "died while starting, the last one exit code 7" in str(error)


def test_why_a_pool_is_broken_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody may look at the futures; however many children fail, there is one record, with the remote error."""
    with ProcessPool(3, initializer=functions.fail_to_prepare) as pool:
        for future in [pool.submit(functions.double, number) for number in range(3)]:
            assert isinstance(future.exception(PATIENCE_S), PoolBroken)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "no licence for this machine" in caplog.text


def test_a_broken_pool_shuts_down() -> None:
    """And leaves nothing behind."""
    pool = ProcessPool(2, initializer=functions.fail_to_prepare)
    pool.submit(functions.double, 1).exception(PATIENCE_S)
    pool.shutdown()
    assert pool.pids == []


# The end of a pool


def test_shutdown_leaves_nothing_behind() -> None:
    """No process, no thread, no open file."""
    before = len(open_files())
    pool = ProcessPool(2)
    list(pool.map(functions.double, range(10), chunksize=1))
    children = pool.pids
    pool.shutdown()
    assert not any(is_alive(child) for child in children)
    assert not any(thread.name == "treadle-pool" for thread in threading.enumerate())
    eventually(lambda: len(open_files()) == before)


def test_deaths_leave_nothing_behind() -> None:
    """Neither open files nor zombies, however many children die."""
    others = _children("self")
    with ProcessPool(1) as pool:
        pool.submit(functions.double, 1).result(PATIENCE_S)
        before = len(open_files())
        for _ in range(5):
            pool.submit(functions.kill_myself).exception(PATIENCE_S)
            pool.submit(functions.double, 1).result(PATIENCE_S)
        eventually(lambda: len(open_files()) == before)
        # Another test may have started a database server.
        [zygote] = {*_children("self")} - {*others}
        assert _children(zygote) == pool.pids


def test_a_pool_that_was_forgotten_ends_its_children() -> None:
    """Nobody has to call `shutdown`."""
    pool = ProcessPool(1)
    child = pool.submit(functions.pid).result(PATIENCE_S)
    del pool
    gc.collect()
    eventually(lambda: not is_alive(child))


def test_shutdown_without_wait_lets_the_calls_end(gate: Gate) -> None:
    """In the background; then the children leave."""
    pool = ProcessPool(1)
    future, child = begin(pool, gate)
    queued = pool.submit(functions.double, 2)
    pool.shutdown(wait=False)
    gate.open()
    assert (future.result(PATIENCE_S), queued.result(PATIENCE_S)) == ("open", 4)
    eventually(lambda: not is_alive(child))


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_ends_a_map_that_was_taken(wait: bool) -> None:
    """Its chunks, which are cut as children become free, count as taken, as in `concurrent.futures`."""
    pool = ProcessPool(2)
    results = pool.map(functions.double, range(1000))
    pool.shutdown(wait=wait)
    assert list(results) == [2 * number for number in range(1000)]


def test_the_end_of_the_program_ends_a_map_that_was_taken(tmp_path: Path) -> None:
    """Although nobody asks for its results, and without a word."""
    with python("-c", MAPS, str(tmp_path)) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("", "")
    assert len(list(tmp_path.iterdir())) == 100


def test_a_map_that_the_collector_drops_under_the_lock_blocks_nobody(gate: Gate) -> None:
    """Its thread holds the pool's lock while another, which sends a chunk of that map, waits for it."""
    with python("-c", DROPPED_MAP, str(gate.path)) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("", "")
    assert process.returncode == 0


def test_shutdown_may_cancel_a_map() -> None:
    """What has not started is cancelled, to its last item."""
    pool = ProcessPool(2)
    results = pool.map(functions.double, range(1000))
    pool.shutdown(cancel_futures=True)
    with pytest.raises(CancelledError):
        list(results)


def test_a_child_does_not_hold_the_files_of_its_owner(pool: ProcessPool, tmp_path: Path) -> None:
    """Sockets and locks of a web server end with the web server."""
    with (tmp_path / "secret").open("w"):
        assert not any("secret" in name for name in pool.submit(functions.open_files).result(PATIENCE_S))


def test_a_child_holds_what_it_is_told_to_hold(tmp_path: Path) -> None:
    """Such as the worker's proof of life; a process that it starts does not."""
    file = (tmp_path / "alive").open("w")
    with file, ProcessPool(1, held_fds=(file.fileno(),)) as pool:
        assert any("alive" in name for name in pool.submit(functions.open_files).result(PATIENCE_S))
        grandchild = pool.submit(functions.start_grandchild).result(PATIENCE_S)
        # It lets go as its first act, which may be still to come.
        eventually(lambda: not any("alive" in name for name in open_files(grandchild)))


def test_the_calls_taken_end_with_the_program() -> None:
    """As in `concurrent.futures`."""
    with python("-c", UNFINISHED) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("taken\n", "")


# The end of the owner


@pytest.mark.parametrize("function", ["announce_and_wait", "announce_and_compute"], ids=["asleep", "in a C call"])
def test_children_die_with_their_owner(gate: Gate, function: str) -> None:
    """Within a second of its SIGKILL, whatever they do; one that computes in C holds its GIL all the time."""
    started = [gate.folder / "one", gate.folder / "two"]
    waiting = [str(gate.path)] * 2 if function == "announce_and_wait" else []
    with python("-c", OWNER, function, *map(str, started), *waiting) as owner:
        children = [int(eventually(partial(_read, file))) for file in started]
        owner.kill()
        eventually(lambda: not any(is_alive(child) for child in children), timeout_s=1)


def test_idle_children_die_with_their_owner() -> None:
    """Within a second."""
    with python("-c", IDLE_OWNER) as owner:
        child = int(owner.communicate(timeout=PATIENCE_S)[0])
        eventually(lambda: not is_alive(child), timeout_s=1)


def test_a_pool_starts_anew_in_a_forked_process() -> None:
    """With children of its own; the parent's serve on."""
    with python("-W", "ignore", "-c", FORK) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("", "")
        assert process.returncode == 0


def _is_dead(pid: int) -> bool:
    return not is_alive(pid)


def _read(file: Path) -> str:
    """What is in a file, which may be gone by then."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return file.read_text()
    return ""


def _children(process: int | str) -> list[int]:
    """The child processes of a process, those that are dead and not reaped included."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in _read(task / "children").split()]


def test_there_are_never_more_children_than_asked_for() -> None:
    """However many calls come while the first child is being started."""
    for _ in range(5):
        with ProcessPool(1) as pool:
            children = {pool.submit(functions.pid) for _ in range(5)}
            assert len({future.result(PATIENCE_S) for future in children}) == 1


def test_a_second_fork_inside_a_child_closes_nothing_of_its_own() -> None:
    """What is held is let go once; later its number may be another file's."""
    program = (
        "import os; from treadle.pools.processes.surroundings import hold\n"
        "reader, writer = os.pipe(); hold((reader,))\n"
        "if os.fork() == 0:\n"
        "    mine = os.open('/dev/null', os.O_RDONLY)\n"
        "    if os.fork() == 0: os._exit(0 if mine == reader and os.read(mine, 1) == b'' else 1)\n"
        "    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "assert os.wait()[1] == 0"
    )
    with python("-W", "ignore", "-c", program) as process:
        assert process.communicate(timeout=PATIENCE_S)[1] == ""


def test_where_no_thread_can_be_started_the_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """RuntimeError; the pool can be used later, and shut down."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ProcessPool(1) as pool, ProcessPool(1) as unused:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for each in (pool, unused):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    each.submit(functions.double, 1)
        assert pool.submit(functions.double, 2).result(PATIENCE_S) == 4
