"""What several test files use."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests import apps
from treadle.app import Treadle
from treadle.testing.pool_contract import Gate
from treadle.worker.loop import Worker

__all__ = ["Gate", "eventually", "is_alive", "jobs_app", "open_files", "python", "running", "working"]

ROOT = Path(__file__).parent.parent
PATIENCE_S = 20.0
"""How long to wait for what must come; only a failing test waits so long."""


def eventually(condition: Callable[[], Any], timeout_s: float = 10) -> Any:
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
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def open_files(process: int | str = "self") -> list[str]:
    """What a process has open, by path or kind."""
    names = []
    for entry in Path(f"/proc/{process}/fd").iterdir():
        # The descriptor of the listing itself is gone by now.
        with suppress(OSError):
            names.append(str(entry.readlink()))
    return names
