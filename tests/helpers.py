"""What several test files use."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests import apps, functions
from treadle.app import Treadle
from treadle.testing.pool_contract import Gate
from treadle.worker.loop import Worker

__all__ = [
    "Gate",
    "begin",
    "eventually",
    "is_alive",
    "is_asleep",
    "jobs_app",
    "leaving_nothing",
    "open_files",
    "python",
    "running",
    "segments",
    "shared_memory",
    "working",
    "zygote_of",
]

ROOT = Path(__file__).parent.parent
PATIENCE_S = 40.0
"""How long to wait for what must come; only a failing test waits so long."""


def eventually(condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    """The first true value of a condition, looked at again and again until the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.005)
    return value


def jobs_app(folder: Path, **options: Any) -> Treadle:
    """An application with a store of its own and the tasks of `tests.apps`, where its children find them."""
    url = options.pop("database_url", f"sqlite:///{folder / 'jobs.sqlite3'}")
    options = {"app": "tests.apps:app", "concurrency": 1, **options}
    return Treadle(url, registry=apps.app.registry, **options)


@contextmanager
def working(app: Treadle, **options: Any) -> Iterator[Worker]:
    """A worker of this application in a thread; what ended it early is raised at the end."""
    worker = app.worker(**options)
    with running(worker.run, lambda: worker.stop(at_once=True)):
        yield worker


@contextmanager
def running(run: Callable[[], Any], stop: Callable[[], Any]) -> Iterator[threading.Thread]:
    """`run` in a thread until the end, then `stop`; raises what `run` raised."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "it does not stop"
        if errors:
            # Also where the test has failed: this is why.
            raise errors[0]


@contextmanager
def python(*arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> "Iterator[subprocess.Popen[str]]":
    """A Python program in a process of its own, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}, **options,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(OSError):
        return _state_of(pid) not in ("Z", "X")
    return False


def is_asleep(pid: int) -> bool:
    """Whether a process waits in the kernel, as for its socket."""
    return _state_of(pid) == "S"


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def open_files(process: int | str = "self") -> list[str]:
    """What a process has open, by path or kind."""
    names = []
    for entry in Path(f"/proc/{process}/fd").iterdir():
        # The descriptor of the listing itself is gone by now.
        with suppress(OSError):
            names.append(str(entry.readlink()))
    return names


def zygote_of(child: int, owner: int | None = None) -> int:
    """The process that has forked a pool's child. Raises ProcessLookupError where that is gone, and another is parent."""
    zygote = _parent_of(child)
    if _parent_of(zygote) != (owner or os.getpid()):
        raise ProcessLookupError(f"{child} has lost its zygote")
    return zygote


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def begin(pool: Any, gate: Gate) -> tuple[Any, int]:
    """A call that waits for the gate, and the child that runs it."""
    started = gate.folder / f"started-{uuid4()}"
    future = pool.submit(functions.announce_and_wait, str(started), str(gate.path))
    return future, int(eventually(lambda: started.exists() and started.read_text()))


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """No process that was started inside, whoever its parent is by now, and no segment of memory is left at the end."""
    mark = f"TREADLE_TEST={uuid4()}"
    before = segments("self")
    os.environ.update([mark.split("=")])
    try:
        yield
    finally:
        del os.environ["TREADLE_TEST"]
    eventually(lambda: not _marked(mark))
    gc.collect()
    # Fewer, where an earlier test's were still on their way out.
    assert segments("self") <= before


def segments(process: int | str) -> int:
    """How many segments of an arena a process has open."""
    return sum(name.startswith("/memfd:treadle") for name in open_files(process))


def shared_memory() -> list[str]:
    """The names in /dev/shm, but for those of other tests' PostgreSQL servers and semaphores, which come and go."""
    return sorted(path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith(("PostgreSQL.", "sem.")))


def _marked(mark: str) -> list[int]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        # Others come and go, or are not ours to read.
        with suppress(OSError):
            found += [int(environ.parent.name)] if mark.encode() in environ.read_bytes() else []
    return found
