"""What surrounds the tasks in a child: its place in the system, its random numbers, its BLAS threads."""

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from treadle.locate import import_here, load_target
from treadle.pools.processes import turns
from treadle.pools.processes.wire import MAY_FAIL

PR_SET_PDEATHSIG = 1
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024 / 1024
OOM_SCORE = 500
"""Of 1000: when memory runs out, the kernel takes a child and not the web server."""
BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def blas_variables(cores: int) -> dict[str, str]:
    """What tells numerical libraries how many threads to start. Two children with two threads each on two cores
    took 4.5 times as long as with one each: the threads wait for each other.
    """
    return dict.fromkeys(BLAS_VARIABLES, str(cores))


@contextmanager
def blas_threads(cores: int) -> Iterator[None]:
    """While inside, numerical libraries use so many threads; those loaded already only where threadpoolctl is there."""
    if cores == 1:
        yield
        return
    before = {name: os.environ.get(name) for name in BLAS_VARIABLES}
    os.environ.update(blas_variables(cores))
    try:
        with _loaded_libraries(cores):
            yield
    finally:
        _restore(before)


def _loaded_libraries(cores: int) -> Any:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(limits=cores)


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        # It had ended before the kernel was told.
        os._exit(1)


def outlive_parent() -> None:
    """Take `end_with_parent` back."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)


def stand_back(nice: int) -> None:
    """Behind the owner for the processor, before it for the kernel's choice when memory runs out."""
    os.nice(nice)
    if nice:
        turns.take_long_turns()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def preload(name: str) -> None:
    """Import a module, or call a function, as `Preparation.preload` names them. Raises what that raises."""
    if name.endswith(MAY_FAIL):
        # Who needs it will tell: the initializer of a child, or a call.
        with contextlib.suppress(Exception, SystemExit):
            import_here(name.removesuffix(MAY_FAIL))
    elif ":" in name:
        load_target(name)
    else:
        import_here(name)


def reseed() -> None:
    """Two forks of one process would draw the same numbers. Generators that a module has made cannot be found."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def own_memory_mb(pid: int | str) -> float:
    """What a process has in memory that it shares with nobody by a file: resident minus shared; 0 where it is gone."""
    with contextlib.suppress(OSError, ValueError):
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(resident) - int(shared)) * PAGE_MB
    return 0.0


def hold(fds: tuple[int, ...]) -> None:
    """Keep descriptors open as long as this process lives, and no longer: no process that it starts has them."""
    held = list(fds)
    os.register_at_fork(after_in_child=lambda: _let_go(held))


def _let_go(held: list[int]) -> None:
    # Once: by the next fork the number may be another file's.
    while held:
        os.close(held.pop())


def ignore_stopping_signals() -> None:
    """A service manager sends them to all processes of a service at once; a child ends when its owner lets it.

    By a handler and not by SIG_IGN, which the programs that a task starts would inherit; what a task forks has the
    default again.
    """
    for number in _STOPPING:
        signal.signal(number, _ignore)
    os.register_at_fork(
        before=_hold_back_signals, after_in_parent=_let_signals_come, after_in_child=_heed_stopping_signals
    )


def _ignore(number: int, frame: object) -> None:
    pass


def _hold_back_signals() -> None:
    # What is forked may be sent one before it has the default again, and must not ignore that one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    _masks.stack = [*getattr(_masks, "stack", ()), before]


def _let_signals_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.stack.pop())


def _heed_stopping_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _let_signals_come()


_STOPPING = (signal.SIGTERM, signal.SIGINT)
_masks = threading.local()
"""`stack`: the signals that this thread held back before each fork that is under way; the hooks are there twice in a
child, once from its zygote."""
