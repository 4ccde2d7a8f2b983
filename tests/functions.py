"""Functions that child processes run: each stands at module level, where a child can import it."""

import contextlib
import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from treadle import ProcessPool
from treadle.pools import current
from treadle.pools.contract import report
from treadle.testing.pool_contract import Functions


def double(number: int) -> int:
    return 2 * number


def pid() -> int:
    return os.getpid()


def kill_myself(_: Any = None) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def segfault() -> None:
    # No core file, and no report of faulthandler, which pytest's environment may have switched on.
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def exit_at_once(code: int) -> NoReturn:
    os._exit(code)


def wait_for(path: str) -> str:
    return Functions.wait_for(path)


def meet(folder: str, count: int, value: int) -> int:
    """Wait until `count` calls are here at the same time."""
    (Path(folder) / f"here-{value}").touch()
    while len(list(Path(folder).glob("here-*"))) < count:
        time.sleep(0.005)
    return value


def announce_and_wait(started: str, path: str) -> str:
    Path(started).write_text(str(os.getpid()))
    return wait_for(path)


def announce_and_compute(started: str) -> int:
    """One call of C code that holds the GIL for longer than any test waits."""
    Path(started).write_text(str(os.getpid()))
    return int(pow(7, 1 << 27) > 0)


def touch(path: str) -> None:
    Path(path).touch()


def identity(value: Any) -> Any:
    return value


def length(data: bytes) -> int:
    return len(data)


def make_bytes(count: int) -> bytes:
    return bytes(count)


class Weak:
    """Can be referred to weakly."""


def make_weak(_: Any) -> Weak:
    return Weak()


def make_lock() -> Any:
    return threading.Lock()


class NeedsTwo(Exception):
    """Pickles, and cannot be made again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def raise_needs_two() -> NoReturn:
    raise NeedsTwo("one", "two")


class HoldsLock(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("held")
        self.lock = threading.Lock()


def raise_holds_lock() -> NoReturn:
    raise HoldsLock


class Stubborn:
    """Pickles, and raises where it is unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> NoReturn:
    raise ValueError("not here")


def make_stubborn() -> Stubborn:
    return Stubborn()


def fail_deep() -> NoReturn:
    raise LookupError("from the depth of a child")


def report_lock() -> str:
    with contextlib.suppress(Exception):
        report(threading.Lock())
    return "went on"


prepared: list[Any] = []


def prepare(value: Any) -> None:
    prepared.append(value)


def what_was_prepared() -> list[Any]:
    return prepared


def fail_to_prepare() -> NoReturn:
    raise RuntimeError("no licence for this machine")


def die_while_preparing() -> NoReturn:
    os._exit(7)


def map_inside(numbers: list[int]) -> list[int]:
    """A pool inside a child: it runs here."""
    with ProcessPool(2) as pool:
        return list(pool.map(double, numbers))


def call_inside() -> tuple[list[Any], bool]:
    seen: list[Any] = []
    with ProcessPool(1) as pool:
        future = pool.call(
            _report_and_return, (os.getpid(),), on_started=lambda: seen.append("started"), on_progress=seen.append
        )
        return seen, future.result() == os.getpid()


def _report_and_return(value: int) -> int:
    report("reported")
    return os.getpid() if value else 0


def is_child() -> bool:
    return current.is_child


def draw() -> float:
    return random.random()


def niceness() -> int:
    return os.nice(0)


def open_files() -> list[str]:
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(str(entry.readlink()))
    return names


def start_grandchild() -> int:
    """Leaves a process behind that holds what a fork inherits."""
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    return child


def close_stdout() -> str:
    sys.stdout.close()
    return "closed"


async def double_soon(number: int) -> int:
    return 2 * number


async def report_soon(value: Any) -> None:
    report(value)


def report_soon_plain(value: Any) -> Any:
    report(value)
    return value


def not_async(number: int) -> int:
    return number


def apply(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def authkey() -> bytes:
    return bytes(multiprocessing.current_process().authkey)
