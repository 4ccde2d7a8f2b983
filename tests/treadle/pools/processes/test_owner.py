"""The owner of a pool: its end, its forks, and how its children stand beside it."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive, leaving_nothing, python, zygote_of

from treadle import PoolBroken, ProcessPool, WorkerCrashed

OWNER = """
import sys
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(2)
futures = [pool.submit(getattr(functions, sys.argv[1]), *sys.argv[2 + n::2]) for n in range(2)]
print([future.result() for future in futures], flush=True)
"""

DRAINING_OWNER = """
import signal, sys
from tests import functions
from treadle import ProcessPool

pool = ProcessPool(2)
futures = [pool.submit(functions.announce_and_wait, started, sys.argv[3]) for started in sys.argv[1:3]]
futures += [pool.submit(functions.double, number) for number in range(3)]

def stop(number, frame):
    print("stopping", flush=True)

signal.signal(signal.SIGTERM, stop)
pool.shutdown()
print([future.result() for future in futures], flush=True)
"""

FORK = """
import os, sys
from pathlib import Path
from tests import functions
from tests.helpers import Gate, begin, eventually
from treadle import ProcessPool

def in_a_fork(check):
    if (child := os.fork()) == 0:
        try:
            check()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""

ENDED = (
    FORK
    + """
pool = ProcessPool(1)
pool.submit(functions.pid).result(10)
pool.shutdown()
"""
)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with leaving_nothing():
        yield


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def run(program: str, *arguments: str) -> None:
    """A program that must end well and say nothing."""
    with python("-W", "ignore::DeprecationWarning", "-c", program, *arguments) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("", "")
        assert process.returncode == 0


# The end of the owner


@pytest.mark.parametrize("victim", ["owner", "zygote"])
def test_children_and_grandchildren_die_with_owner_or_zygote(gate: Gate, victim: str) -> None:
    """Within a second of its SIGKILL, also in a C call that holds the GIL."""
    files = [gate.folder / "one", gate.folder / "two"]
    with python("-c", OWNER, "compute_with_a_grandchild", *map(str, files)) as owner:
        family = [int(pid) for file in files for pid in eventually(lambda file=file: read(file)).split()]
        assert len(family) == 4
        os.kill(owner.pid if victim == "owner" else zygote_of(family[0], owner.pid), signal.SIGKILL)
        eventually(lambda: not any(is_alive(pid) for pid in family), timeout_s=1)


def test_children_die_although_owner_and_zygote_are_gone(gate: Gate) -> None:
    """Nobody is left to end them but the kernel, which was asked to."""
    files = [gate.folder / "one", gate.folder / "two"]
    with python("-c", OWNER, "announce_and_compute", *map(str, files)) as owner:
        children = [int(eventually(lambda file=file: read(file))) for file in files]
        zygote = zygote_of(children[0], owner.pid)
        # It does not hear of its owner's end.
        os.kill(zygote, signal.SIGSTOP)
        owner.kill()
        os.kill(zygote, signal.SIGKILL)
        eventually(lambda: not any(is_alive(pid) for pid in children), timeout_s=1)


def test_what_all_processes_are_sent_at_a_stop_does_not_end_children(gate: Gate) -> None:
    """A service manager sends SIGTERM to all at once; children finish, also what waits, while the owner drains."""
    started = [gate.folder / "one", gate.folder / "two"]
    with python("-c", DRAINING_OWNER, *map(str, started), str(gate.path)) as owner:
        children = [int(eventually(lambda file=file: read(file))) for file in started]
        family = [zygote_of(children[0], owner.pid), *children, owner.pid]
        for pid in family:
            os.kill(pid, signal.SIGTERM)
        assert owner.stdout is not None
        assert owner.stdout.readline() == "stopping\n"
        until_s = time.monotonic() + 0.2  # To die takes a moment, too.
        eventually(lambda: time.monotonic() >= until_s)
        assert all(is_alive(pid) for pid in family)
        gate.open()
        assert owner.communicate(timeout=PATIENCE_S) == ("['open', 'open', 0, 2, 4]\n", "")


def test_what_a_task_starts_heeds_sigterm() -> None:
    """A program, as usual."""
    with ProcessPool(1) as pool:
        assert pool.submit(functions.terminate_a_program).result(PATIENCE_S) == -signal.SIGTERM


def test_what_a_task_forks_heeds_sigterm_from_its_first_moment() -> None:
    """A process that is terminated as soon as it was started ends."""
    with ProcessPool(1) as pool:
        codes = pool.submit(functions.terminate_what_i_start, 20).result(PATIENCE_S)
        assert codes == [-signal.SIGTERM] * 20


# Forks of the owner


def test_closing_the_pool_in_a_fork_harms_nobody() -> None:
    """Used or not; what the parent's children run goes on."""
    run(
        FORK
        + """
with ProcessPool(2) as pool, Gate() as gate:
    running, mine = begin(pool, gate)
    in_a_fork(lambda: pool.shutdown())
    def use_and_close():
        assert pool.submit(functions.pid).result(10) != mine
        pool.shutdown()
    in_a_fork(use_and_close)
    gate.open()
    assert running.result(10) == "open"
    assert pool.submit(functions.double, 2).result(10) == 4
    assert mine in pool.pids
"""
    )


def test_a_pool_that_has_ended_closes_nothing_in_a_fork() -> None:
    """Its numbers of files are others' by then."""
    run(
        ENDED
        + """
pipes = [os.pipe() for _ in range(20)]
in_a_fork(lambda: [os.fstat(fd) for pipe in pipes for fd in pipe])
"""
    )


def test_a_pool_that_was_shut_down_is_so_in_a_fork() -> None:
    """It takes no calls there either."""
    run(
        ENDED
        + """
def call():
    try:
        pool.submit(functions.pid)
    except RuntimeError:
        return
    raise AssertionError
in_a_fork(call)
"""
    )


def test_a_fork_cannot_cancel_the_calls_of_its_parent() -> None:
    """They run on there, and its own pool is none the worse for the attempt."""
    run(
        FORK
        + """
with ProcessPool(1) as pool, Gate() as gate:
    running, _ = begin(pool, gate)
    queued = [pool.submit(functions.double, number) for number in range(3)]
    mapped = pool.map(functions.double, range(3), chunksize=1)
    def cancel():
        assert not running.cancel()
        assert not any(future.cancel() for future in queued)
        mapped.close()
        assert pool.submit(functions.double, 4).result(10) == 8
    in_a_fork(cancel)
    gate.open()
    assert running.result(10) == "open"
    assert [future.result(10) for future in queued] == [0, 2, 4]
    assert list(mapped) == [0, 2, 4]
"""
    )


def test_a_fork_holds_no_child_of_its_parent() -> None:
    """Its copies of their sockets are closed, so they leave when the parent lets them."""
    run(
        FORK
        + """
pool = ProcessPool(2)
pool.submit(functions.pid).result(10)
def check():
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.lexists(f"/proc/self/fd/{fd}")]
    assert not any(link.startswith("socket:") for link in links), links
in_a_fork(check)
pool.shutdown()
"""
    )


# How children stand beside their owner


def test_a_child_is_of_a_group_of_its_own_in_the_session_of_its_owner() -> None:
    """A session of its own would make its niceness a no-op between autogroups."""
    with ProcessPool(1, nice=3) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        place = pool.submit(functions.place).result(PATIENCE_S)
        assert (place["group"], place["session"]) == (child, os.getsid(0))
        assert os.getpgid(place["parent"]) == place["parent"] != os.getpgid(0)
        assert os.getsid(place["parent"]) == os.getsid(0)
        assert pool.submit(functions.niceness).result(PATIENCE_S) == min(19, os.nice(0) + 3)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups")
def test_a_child_is_of_the_autogroup_of_its_owner() -> None:
    """So its niceness counts between the two."""
    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        assert Path(f"/proc/{child}/autogroup").read_text() == Path("/proc/self/autogroup").read_text()


def test_the_kernel_takes_a_child_before_its_owner() -> None:
    """When memory runs out."""
    with ProcessPool(1) as pool:
        place = pool.submit(functions.place).result(PATIENCE_S)
        assert place["oom_score_adj"] == 500 > int(Path("/proc/self/oom_score_adj").read_text())
        assert (
            Path(f"/proc/{place['parent']}/oom_score_adj").read_text() == Path("/proc/self/oom_score_adj").read_text()
        )


@pytest.mark.parametrize("draw", [functions.draw, functions.draw_with_numpy], ids=["random", "numpy"])
def test_no_two_children_draw_the_same(draw: Any, gate: Gate) -> None:
    """Neither where the module was imported before the fork, and seeded there."""
    with ProcessPool(2, preload=("numpy.random", "tests.seeds")) as pool:
        pairs = [pool.submit(functions.meet_and_draw, str(gate.folder), 2, number, draw) for number in range(2)]
        draws = dict(future.result(PATIENCE_S) for future in pairs)
        assert len(draws) == len(set(draws.values())) == 2


# Preload


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A module `preloaded` that children can import."""
    (folder / "preloaded.py").write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
         "the import of 'preloaded' starts threads (1)"),
        ("import socket; socket = socket.socket()", "the import of 'preloaded' opens sockets (1)"),
    ],
    ids=["thread", "socket"],
)  # fmt: skip
def test_a_preload_that_makes_forks_unsafe_is_left_out(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that names the module and the reason; the pool works without it."""
    write(tmp_path, monkeypatch, text)
    with ProcessPool(2, preload=("preloaded",)) as pool:
        assert list(pool.map(functions.double, range(20), chunksize=1)) == [2 * number for number in range(20)]
    assert caplog.text.count(reason) == 1


def test_a_preload_that_fails_breaks_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the error of the import as the cause."""
    write(tmp_path, monkeypatch, "import not_there_at_all")
    with ProcessPool(1, preload=("preloaded",)) as pool:
        error = pool.submit(functions.double, 1).exception(PATIENCE_S)
        assert isinstance(error, PoolBroken)
        assert isinstance(error.__cause__, ModuleNotFoundError)
        assert "not_there_at_all" in str(error)


def test_a_preload_is_imported_once_for_all_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the zygote, which is the parent of them all; a function of it is called where that is asked for."""
    write(tmp_path, monkeypatch, "import os\npid = os.getpid()\ncalls = []\ndef make(): calls.append(os.getpid())")
    with ProcessPool(1, preload=("preloaded", "preloaded:make()")) as pool:
        for _ in range(2):
            child = pool.submit(functions.pid).result(PATIENCE_S)
            zygote = zygote_of(child)
            assert pool.submit(functions.value_in, "preloaded", "pid").result(PATIENCE_S) == zygote
            assert pool.submit(functions.value_in, "preloaded", "calls").result(PATIENCE_S) == [zygote]
            assert isinstance(pool.submit(functions.kill_myself).exception(PATIENCE_S), WorkerCrashed)
