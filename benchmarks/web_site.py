"""The measured web site: a server on a port of this machine, and all that its processes have started."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
    """A running server, and what was started beside it."""

    def __init__(self, folder: Path, command: Sequence[str], processes: int, settings: Mapping[str, str]) -> None:
        """`command`: of Python, with PORT for its port. `processes`: how many of it answer."""
        self.name = ""
        self.processes = processes
        self.port = _free_port()
        self._folder = folder
        self._mark = family.new_mark()
        self._log = folder / "output.log"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        ours = {"PYTHONPATH": path, place.FOLDER: str(folder), family.MARK: self._mark}
        self._environment = {**os.environ, **ours, **settings}
        self._beside: list[subprocess.Popen[bytes]] = []
        self._server = self._start([word.replace("PORT", str(self.port)) for word in command])

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # So that a Ctrl-C of ours does not reach it before we end it.
                start_new_session=True,
            )

    def start_beside(self, command: Sequence[str]) -> None:
        """Start another program of the site, which ends with it."""
        self._beside.append(self._start(command))

    def run(self, command: Sequence[str]) -> None:
        """Run another program of the site to its end. Raises BenchmarkError where it fails."""
        program = self._start(command)
        if program.wait(START_WITHIN_S):
            raise self.error(f"{' '.join(command)} ended with {program.returncode}")

    def family(self) -> set[family.Process]:
        """All its processes that live now, and those beside it."""
        return set(family.living({*family.marked(self._mark), *family.tree([self._server.pid])}))

    def web_pss_mb(self) -> float:
        """Memory of the server alone."""
        return family.pss_mb(family.tree([self._server.pid]))

    def cpu_s(self) -> float:
        """Processor time of its living processes."""
        return sum(process.cpu_s for process in self.family())

    def await_start(self) -> None:
        """Until it takes connections. Raises BenchmarkError."""
        deadline_s = time.monotonic() + START_WITHIN_S
        while not self._listens():
            if self._server.poll() is not None:
                raise self.error(f"the server ended with {self._server.returncode}")
            if time.monotonic() > deadline_s:
                raise self.error(f"the server did not start within {START_WITHIN_S:.0f} s")
            time.sleep(LOOK_EVERY_S)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
            return True
        return False

    def end(self) -> None:
        """Ask it to stop, and kill what is left."""
        known = self.family()
        programs = [self._server, *self._beside]
        for program in programs:
            program.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            for program in programs:
                program.wait(STOP_WITHIN_S)
        family.end(self._mark, known)
        for program in programs:
            program.wait()

    def error(self, reason: str) -> BenchmarkError:
        """With what its programs wrote last."""
        return BenchmarkError(f"{reason}\n{tail(self._log.read_text(errors='replace'))}".rstrip())


@contextlib.contextmanager
def serving(command: Sequence[str], processes: int, settings: Mapping[str, str] = {}) -> Iterator[Site]:
    """It serves inside; afterwards none of its processes is left. Raises BenchmarkError where it does not start."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        running = Site(Path(folder), command, processes, settings)
        try:
            running.await_start()
            yield running
        finally:
            running.end()


def gunicorn(application: str, processes: int, options: Sequence[str] = ()) -> list[str]:
    """The command that serves it."""
    return ["-m", "gunicorn", "-b", f"{HOST}:PORT", "-w", str(processes), *options, application]


@contextlib.contextmanager
def site(
    processes: int, options: Sequence[str] = (), *, children: int, idle_timeout_s: float | None = None
) -> Iterator[Site]:
    """The site whose requests compute. Raises BenchmarkError where it does not start."""
    settings = {CHILDREN: str(children)} | ({} if idle_timeout_s is None else {IDLE_TIMEOUT_S: str(idle_timeout_s)})
    with serving(gunicorn("benchmarks.apps.with_flask:app", processes, options), processes, settings) as running:
        yield running


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port
