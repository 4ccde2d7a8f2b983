"""Functions that child processes run: each stands at module level, where a child can import it."""

import asyncio
import contextlib
import contextvars
import ctypes
import multiprocessing
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
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


def compute() -> int:
    """One call of C code that holds the GIL for half a minute."""
    return int(pow(7, 1 << 25) > 0)


def announce_and_compute(started: str) -> int:
    Path(started).write_text(str(os.getpid()))
    return compute()


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


def pids_inside() -> tuple[int, set[int]]:
    """The process of this call, and those in which a pool inside it runs what it is given in any way."""
    with ProcessPool(2) as pool:
        return os.getpid(), {pool.submit(pid).result(), pool.call(pid).result(), *pool.map(pid_of, range(3))}


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


def has_imported(module: str) -> bool:
    return module in sys.modules


def is_child() -> bool:
    return current.is_child


def draw() -> float:
    return random.random()


def niceness() -> int:
    return os.nice(0)


def turn_ns() -> int:
    """How long the kernel lets this process compute in one turn, where others want to."""
    lines = Path("/proc/self/sched").read_text().splitlines()
    return next(int(line.split(":")[1]) for line in lines if line.startswith("se.slice"))


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


# Deaths


def apply_inside(function: Callable[..., Any], *args: Any) -> Any:
    """In a pool inside a child."""
    with ProcessPool(2) as pool:
        return pool.submit(function, *args).result()


class SlowToUnpickle:
    """A large argument: where it is unpickled this is announced, and goes on when the gate opens."""

    def __init__(self, size: int, started: str, path: str) -> None:
        self.data = bytearray(size)
        self.where = started, path

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _unpickle_slowly, (pickle.PickleBuffer(self.data), *self.where)


def _unpickle_slowly(data: Any, started: str, path: str) -> str:
    return announce_and_wait(started, path)


def die_at_start(folder: str, which: int) -> None:
    """An initializer that ends the child which comes as number `which`."""
    if _number_of_arrival(folder) == which:
        os._exit(7)


def fail_at_start(folder: str, which: int, path: str) -> None:
    """An initializer that fails in the child which comes as number `which`, when the gate opens."""
    if _number_of_arrival(folder) == which:
        wait_for(path)
        raise RuntimeError("no licence for another one")


def _number_of_arrival(folder: str) -> int:
    arrivals = Path(folder) / "arrivals"
    with arrivals.open("ab") as file:
        file.write(b".")
        file.flush()
        return arrivals.stat().st_size


_records: dict[str, int] = {}


def record(folder: str, number: int) -> int:
    """Written by each process to a file of its own, before the call ends."""
    if folder not in _records:
        _records[folder] = os.open(Path(folder) / str(os.getpid()), os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(_records[folder], b"%d\n" % number)
    return number


def compute_with_a_grandchild(started: str) -> int:
    """Announces two processes: the child and what it has started."""
    grandchild = start_grandchild()
    Path(started).write_text(f"{os.getpid()} {grandchild}")
    return compute()


def terminate_what_i_start(count: int) -> list[int | None]:
    """The exit codes of processes that are terminated as soon as they were forked."""
    codes = []
    for _ in range(count):
        process = multiprocessing.get_context("fork").Process(target=signal.pause)
        process.start()
        process.terminate()
        process.join(5)
        codes.append(process.exitcode)
        process.kill()
    return codes


def terminate_a_program() -> int:
    with subprocess.Popen([sys.executable, "-c", "import signal; print(1, flush=True); signal.pause()"],
                          stdout=subprocess.PIPE) as process:  # fmt: skip
        process.stdout.readline()  # type: ignore[union-attr]
        process.terminate()
        try:
            return process.wait(5)
        finally:
            process.kill()


def draw_with_numpy() -> float:
    import numpy as np

    return float(np.random.random_sample())


def place() -> dict[str, Any]:
    """Where this process stands in the system."""
    return {
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
    }


def value_in(module: str, name: str) -> Any:
    """A value of a module that was imported here already."""
    return getattr(sys.modules[module], name)


def report_late(path: str) -> str:
    """Reports from a thread of its own, after it has returned."""
    context = contextvars.copy_context()

    def wait_and_report() -> None:
        wait_for(path)
        context.run(report, "too late")
        Path(path + "-reported").touch()

    threading.Thread(target=wait_and_report).start()
    return "returned"


def wait_at_start(folder: str, count: int, path: str) -> None:
    """An initializer that waits for the gate in the first `count` children."""
    if _number_of_arrival(folder) <= count:
        wait_for(path)


def touch_and_forget(path: str, _: Any) -> None:
    touch(path)


def meet_and_draw(folder: str, count: int, value: int, draw: Callable[[], float]) -> tuple[int, float]:
    """In a process of its own each, as `count` of them meet."""
    meet(folder, count, value)
    return os.getpid(), draw()


def touch_or_wait(path: str, gate: str | None) -> int:
    """Quick without a gate: the same function may take no time, and very long. Raises where it has run before."""
    Path(path).touch(exist_ok=gate is not None)
    if gate is not None:
        wait_for(gate)
    return 1


def append_to(path: str) -> None:
    """A dot for each run."""
    with Path(path).open("a") as file:
        file.write(".")


def length_of_file(path: str) -> int:
    return len(Path(path).read_text())


def fail_at_700(number: int) -> int:
    if number == 700:
        raise LookupError("at 700")
    return number


def fail_at_700_untold(number: int) -> int:
    """The error can be pickled, and cannot be made again."""
    if number == 700:
        raise NeedsTwo("at", "700: in fail_at_700")
    return number


def lock_at_700(number: int) -> Any:
    return make_lock() if number == 700 else number


def stop_at_5(number: int, _: Any = None) -> int:
    if number == 5:
        raise StopIteration
    return number


def crash_at_20(number: int) -> int:
    if number == 20:
        kill_myself()
    return number


def crash_once(path: str, number: int) -> int:
    if number == 3 and not Path(path).exists():
        touch(path)
        kill_myself()
    return number


def pid_of(_: Any) -> int:
    return os.getpid()


def all_maps_inside() -> tuple[Any, Any, Any, int]:
    async def amap(pool: ProcessPool) -> list[int]:
        return [value async for value in pool.amap(double, [1, 2])]

    with ProcessPool(2) as pool:
        found = list(pool.map(double, [1, 2])), list(pool.map_unordered(double, [1, 2])), asyncio.run(amap(pool))
        return *found, len(pool.pids)


kept: dict[str, Any] = {}


def keep(name: str, value: Any) -> None:
    kept[name] = value


def grow(megabytes: int) -> int:
    data = bytearray(megabytes << 20)
    data[:: 1 << 12] = b"." * (megabytes << 8)
    return stay(len(data)) >> 20


def grow_and_wait(megabytes: int, gate: str, grown: str | None = None) -> str:
    data = bytearray(megabytes << 20)
    data[:: 1 << 12] = b"." * (megabytes << 8)
    if grown is not None:
        touch(grown)
    return wait_for(gate) + str(len(data))


def stay(value: Any) -> Any:
    time.sleep(0.15)  # Longer than the watch looks away.
    return value


def sum_and_stay(array: Any) -> float:
    return stay(float(array.sum()))


def sum_of_preloaded() -> int:
    from tests import preloaded

    return stay(sum(preloaded.data[:: 1 << 12]))


def count_beside(folder: str, path: str) -> int:
    """How many others are here at the most while this one is."""
    Path(path).touch()
    most = 0
    for _ in range(5):
        time.sleep(0.001)
        most = max(most, len(list(Path(folder).iterdir())) - 1)
    Path(path).unlink()
    return most


def threads_of_blas() -> tuple[set[str | None], set[int]]:
    import numpy as np
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))
    found = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
    return {os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}, found


def call_with_limit_inside() -> None:
    with ProcessPool(1) as pool:
        pool.call(double, (1,), timeout_s=5)


def report_when_it_has_ended(folder: str) -> None:
    """Leaves a thread behind that reports once the gate is open, with all that this call had."""

    def report_late() -> None:
        wait_for(f"{folder}/open")
        report("late")
        touch(f"{folder}/reported")

    threading.Thread(target=contextvars.copy_context().run, args=(report_late,)).start()
    report("in time")


def report_until(gate: str) -> None:
    """Reports all the time until the gate is open; at once, if it is."""
    while not Path(gate).exists():
        report("here")
        time.sleep(0.00005)


def call_task_inside() -> Any:
    from tests import apps

    return apps.count_to(3)


def authkey() -> bytes:
    return bytes(multiprocessing.current_process().authkey)


class UnreadableIn(Exception):
    """Pickles, and can be made again in any process but one."""

    def __reduce__(self) -> Any:
        return _make_unless_in, (self.args[0],)


def _make_unless_in(process: int) -> UnreadableIn:
    if os.getpid() == process:
        raise ValueError("not readable here")
    return UnreadableIn(process)


def fail_unreadably(process: int) -> NoReturn:
    raise UnreadableIn(process)


def look_at(array: Any) -> tuple[Any, bool, bool]:
    """A copy, whether it can be written to, and whether it lies in a mapping of shared memory (True where empty)."""
    address = array.__array_interface__["data"][0]
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines() if "memfd" in line]
    spans = [tuple(int(edge, 16) for edge in line[0].split("-")) for line in lines]
    is_mapped = not array.size or any(start <= address < end for start, end in spans)
    return array.copy(), array.flags.writeable, is_mapped


def write_to(array: Any) -> Any:
    array[...] = 99
    return array.dtype.type(99)


def make_writeable(array: Any) -> None:
    array.flags.writeable = True


def sums_of(value: dict[str, Any]) -> tuple[list[float], float, float]:
    return [array.sum() for array in value["shared"]], value["large"].sum(), value["again"].sum()


def value_of_kept(name: str) -> list[Any]:
    """What stands in a kept array, each value once."""
    return sorted(set(kept[name].ravel().tolist()))


def set_column(frame: Any) -> Any:
    frame["a"] = 5
    frame.loc[:, "b"] = 1.0
    return frame


def keep_in(how: str, array: Any) -> None:
    """Keep an array, or what looks into it, in one of many ways."""
    match how:
        case "slice":
            kept[how] = array[5:50]
        case "view":
            kept[how] = array.reshape(-1, 10).T
        case "memoryview":
            kept[how] = memoryview(array)
        case "closure":
            kept[how] = lambda: array
        case "traceback":
            try:
                raise LookupError
            except LookupError as error:
                kept[how] = error
        case "thread":
            _keep_in_thread(array)
        case "cycle":
            cycle = [array]
            cycle.append(cycle)
            kept[how] = weakref.ref(array)
        case _:
            kept[how] = array


def _keep_in_thread(array: Any) -> None:
    asked, answer = threading.Event(), []

    def wait_and_look(array: Any) -> None:
        asked.wait()
        answer.append(array.copy())

    thread = threading.Thread(target=wait_and_look, args=(array,), daemon=True)
    thread.start()
    kept["thread"] = asked, thread, answer


def value_kept_in(how: str) -> list[Any]:
    """What stands in what was kept, each value once."""
    value = kept[how]
    match how:
        case "memoryview":
            return sorted(set(value.tolist()))
        case "closure":
            array = value()
        case "traceback":
            array = value.__traceback__.tb_frame.f_locals["array"]
        case "thread":
            value[0].set()
            value[1].join()
            (array,) = value[2]
        case "cycle":
            # It may have been collected; then there is nothing that could have changed.
            array = value()
            return [7.0] if array is None else sorted(set(array.ravel().tolist()))
        case _:
            array = value
    return sorted(set(array.ravel().tolist()))


def keep_and_return(name: str, array: Any) -> Any:
    kept[name] = array
    return array


def fork_and_look_later(array: Any, gate: str, path: str) -> None:
    if os.fork() == 0:
        wait_for(gate)
        Path(path + ".part").write_text(str(sorted(set(array.tolist()))))
        Path(path + ".part").rename(path)
        os._exit(0)


def return_in_both(gate: str | None, size: int) -> Any:
    """Forks, and gives an array of the fork's id here, later and in the fork one of zeros; with no gate here only."""
    import numpy as np

    fork = os.fork() if gate is not None else -1
    if gate is not None and fork == 0:
        wait_for(gate)
    return np.full(size, fork)


def sums_of_all(arrays: list[Any]) -> list[float]:
    return [float(array.sum()) for array in arrays]


def quick_or_long(path: str, gate: str | None, kind: str = "silent") -> int:
    """Raises where it has run before."""
    Path(path).touch(exist_ok=False)
    if gate is not None:
        report_until(gate) if kind == "reporting" else wait_for(gate)
    return 1


def quick_or_sleep(path: str, is_slow: bool) -> int:
    """Raises where it has run before."""
    Path(path).touch(exist_ok=False)
    time.sleep(0.03 if is_slow else 0)
    return 1


def grow_for_good(megabytes: int) -> int:
    kept["grown"] = bytearray(b"." * (megabytes << 20))
    return os.getpid()


class Raises:
    """Pickles or not, as it is told: raises in one of the methods that pickle calls."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __repr__(self) -> str:
        if self.where == "repr":
            raise RuntimeError("it has no repr")
        return f"<Raises in {self.where}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.where in ("reduce", "repr"):
            raise RuntimeError("not to be reduced")
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> Any:
        if self.where == "getstate":
            raise RuntimeError("it has no state")
        return {"where": self.where}

    def __setstate__(self, state: Any) -> None:
        if state["where"] == "setstate":
            raise RuntimeError("it takes no state")
        self.where = state["where"]


class CannotTell(Exception):
    """Neither pickles nor tells what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> Any:
        raise RuntimeError("not to be reduced")


def raise_cannot_tell() -> NoReturn:
    raise CannotTell


class HoldsLocal(Exception):
    def __init__(self, value: Any) -> None:
        super().__init__("holds")
        self.value = value


def raise_holding(where: str) -> NoReturn:
    raise HoldsLocal(Raises(where))


def make_raising(where: str) -> Raises:
    return Raises(where)


def make(what: str) -> Any:
    """Something that pickle refuses."""
    return {
        "generator": lambda: (n for n in range(3)),
        "lambda": lambda: lambda: 1,
        "lock": threading.Lock,
        "file": lambda: Path("/dev/null").open(),
        "socket": socket.socket,
        "module": lambda: os,
    }[what]()


def names(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def environment(name: str) -> str | None:
    return os.environ.get(name)


def announce_once_and_wait(started: str, path: str) -> str:
    Path(started + ".part").write_text(str(os.getpid()))
    Path(started + ".part").rename(started)
    return wait_for(path)


def end_of_stopped_program() -> int:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        process.terminate()
        return process.wait()


def end_of_stopped_fork() -> int:
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    os.kill(child, signal.SIGTERM)
    return os.waitpid(child, 0)[1]


def report_from_a_fork(path: str) -> str:
    """Leaves a process behind that reports once the gate is open."""
    if os.fork() == 0:
        try:
            wait_for(path)
            report("too late")
            touch(path + "-reported")
        finally:
            os._exit(0)
    return "returned"
