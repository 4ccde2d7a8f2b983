"""The measured web site: gunicorn on a port of this machine, and all that its processes have started."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import family
from benchmarks.apps import place
from benchmarks.processes import ROOT, BenchmarkError, tail

HOST = "127.0.0.1"
# Names only: the module itself is the site's.
CHILDREN, IDLE_TIMEOUT_S = "TREADLE_BENCH_CHILDREN", "TREADLE_BENCH_IDLE_TIMEOUT_S"
START_WITHIN_S, STOP_WITHIN_S = 30.0, 10.0
LOOK_EVERY_S = 0.05
THREADS = ("-k", "gthread", "--threads", "4", "--keep-alive", "60")
"""With a keep-alive that no pause of ours outlasts: a connection that is closed would look like a failure."""


class Site:
    """A running gunicorn."""

    def __init__(self, folder: Path, processes: int, options: Sequence[str], settings: dict[str, str]) -> None:
        self.processes = processes
        self.port = _free_port()
        self._mark = family.new_mark()
        self._log = folder / "gunicorn.log"
        command = ["-m", "gunicorn", "-b", f"{HOST}:{self.port}", "-w", str(processes), *options]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        ours = {"PYTHONPATH": path, place.FOLDER: str(folder), family.MARK: self._mark}
        with self._log.open("wb") as log:
            self._master = subprocess.Popen(
                [sys.executable, *command, "benchmarks.apps.with_flask:app"],
                cwd=folder,
                env=os.environ | ours | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # So that a Ctrl-C of ours does not reach it before we end it.
                start_new_session=True,
            )

    def family(self) -> set[family.Process]:
        """All its processes that live now."""
        return set(family.living({*family.marked(self._mark), *family.tree([self._master.pid])}))

    @property
    def web_pids(self) -> set[int]:
        """The processes that serve requests."""
        return {process.pid for process in self.family() if process.parent == self._master.pid}

    def cpu_s(self) -> float:
        """Processor time of its living processes."""
        return sum(process.cpu_s for process in self.family())

    def await_start(self) -> None:
        """Until it takes connections and all its web processes are there. Raises BenchmarkError."""
        deadline_s = time.monotonic() + START_WITHIN_S
        while not (self._listens() and len(self.web_pids) == self.processes):
            if self._master.poll() is not None:
                raise self.error(f"gunicorn ended with {self._master.returncode}")
            if time.monotonic() > deadline_s:
                raise self.error(f"gunicorn did not start within {START_WITHIN_S:.0f} s")
            time.sleep(LOOK_EVERY_S)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
            return True
        return False

    def end(self) -> None:
        """Ask it to stop, and kill what is left."""
        known = self.family()
        self._master.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(STOP_WITHIN_S)
        family.end(self._mark, known)
        self._master.wait()

    def error(self, reason: str) -> BenchmarkError:
        """With what gunicorn wrote last."""
        return BenchmarkError(f"{reason}\n{tail(self._log.read_text(errors='replace'))}".rstrip())


@contextlib.contextmanager
def site(
    processes: int, options: Sequence[str] = (), *, children: int, idle_timeout_s: float | None = None
) -> Iterator[Site]:
    """It serves inside; afterwards none of its processes is left. Raises BenchmarkError where it does not start."""
    settings = {CHILDREN: str(children)} | ({} if idle_timeout_s is None else {IDLE_TIMEOUT_S: str(idle_timeout_s)})
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        running = Site(Path(folder), processes, options, settings)
        try:
            running.await_start()
            yield running
        finally:
            running.end()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port
