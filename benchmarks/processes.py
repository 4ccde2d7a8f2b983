"""The processes of one measurement: senders that answer, workers that are ended by their ids."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks.apps import place, stamps
from benchmarks.libraries import Library
from benchmarks.sender import WARM_UP

ROOT = Path(__file__).resolve().parents[1]
ANSWER_WITHIN_S = 600
STOP_WITHIN_S = 15
STALLED_AFTER_S = 30
"""A worker that has run nothing for so long, its start included, has failed."""
LOOK_EVERY_S = 0.02

Process = subprocess.Popen[bytes]


class BenchmarkError(Exception):
    """Raised when a figure could not be measured; says which, and what the process wrote last."""


class Site:
    """One library in a folder of its own, with the environment in which all its processes run."""

    def __init__(self, library: Library, folder: Path, synchronous: str, database: Mapping[str, str]) -> None:
        """`database`: what leads its processes to a server, where it needs one."""
        self.library = library
        self.folder = folder
        self.sent = 0
        """Jobs so far, those for warming up included."""
        folder.mkdir()
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = os.environ | {
            place.FOLDER: str(folder),
            "PYTHONPATH": os.pathsep.join(paths),
            **database,
        }
        if synchronous != "DEFAULT":
            self._environment[place.SYNCHRONOUS] = synchronous

    def send(self, verb: str, count: int = 0, *more: float) -> Any:
        """What a sender measured; `count` jobs are sent, and WARM_UP before. Raises BenchmarkError."""
        answer = self.ask("benchmarks.sender", self.library.module, verb, count, *more)
        self.sent += count + WARM_UP if count else 0
        return answer

    def ask(self, program: str, *arguments: object) -> Any:
        """What a program of ours answers in JSON. Raises BenchmarkError."""
        return self.answer(self.start(program, *arguments))

    def start(self, program: str, *arguments: object) -> Process:
        """Start one that will answer."""
        command = [sys.executable, "-m", program, *map(str, arguments)]
        return subprocess.Popen(
            command, env=self._environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def answer(self, process: Process) -> Any:
        """Wait for its answer. Raises BenchmarkError."""
        try:
            out, err = process.communicate(timeout=ANSWER_WITHIN_S)
        except BaseException as error:
            process.kill()
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise self._error(f"{shown(process)} took more than {ANSWER_WITHIN_S} s") from None
            raise
        if process.returncode:
            raise self._error(f"{shown(process)} failed: {tail(err.decode(errors='replace'))}")
        return json.loads(out)

    @contextlib.contextmanager
    def working(self, *, is_fast: bool) -> Iterator[Sequence[Process]]:
        """Its workers; inside they run, afterwards none of their processes does."""
        command = [sys.executable, *self.library.command(is_fast=is_fast)]
        with self._log_path.open("ab") as log, contextlib.ExitStack() as stack:
            workers = []
            for _ in range(self.library.workers):
                workers.append(self._start(command, log))
                stack.callback(self._stop, workers[-1])
            yield workers

    def _start(self, command: list[str], log: IO[bytes]) -> Process:
        # In a session of its own, so that a Ctrl-C of ours does not reach it before we stop it.
        return subprocess.Popen(
            command, env=self._environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )

    def _stop(self, worker: Process) -> None:
        worker.send_signal(self.library.stop_signal)
        try:
            worker.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            # Not reaped yet, so the group of this number is still its own.
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def await_all_ran(self, workers: Sequence[Process]) -> None:
        """Wait until every job that was sent has run. Raises BenchmarkError where a worker dies, or nothing moves."""
        ran, moved_s = 0, time.monotonic()
        while ran < self.sent:
            time.sleep(LOOK_EVERY_S)
            if (now := stamps.count(self.folder)) > ran:
                ran, moved_s = now, time.monotonic()
            elif time.monotonic() - moved_s > STALLED_AFTER_S:
                raise self._error(f"stuck at {ran} of {self.sent} jobs")
            if any(worker.poll() is not None for worker in workers):
                raise self._error(f"a worker ended at {ran} of {self.sent} jobs")

    def check_all_ran_once(self) -> None:
        """Raises BenchmarkError where a job was lost, ran twice, or is not finished for the library."""
        ran, unfinished = stamps.count(self.folder), self.send("unfinished")
        if ran != self.sent or unfinished:
            raise self._error(f"sent {self.sent}, ran {ran}, unfinished {unfinished}")

    def _error(self, reason: str) -> BenchmarkError:
        log = self._log_path.read_text(errors="replace") if self._log_path.exists() else ""
        return BenchmarkError(f"{self.library.name}: {reason}\n{tail(log)}".rstrip())

    @property
    def _log_path(self) -> Path:
        return self.folder / "workers.log"


def shown(process: Process) -> str:
    """What it was started to do."""
    assert isinstance(process.args, list)
    return " ".join(process.args[3:])


def tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])
