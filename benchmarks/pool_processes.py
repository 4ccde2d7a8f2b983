"""The processes in which pools are measured: one for each library and question, none of which outlives it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import family
from benchmarks.pool_trial import ANSWER, BUSY, Options
from benchmarks.processes import ROOT, BenchmarkError, tail

ANSWER_WITHIN_S = 300.0
CLOSE_WITHIN_S = 10.0
LEFT_AFTER_S = 1.0
"""An owner that was killed should have taken its children with it by then."""
LOOK_EVERY_S = 0.01


class Trial:
    """A running `benchmarks.pool_trial`."""

    def __init__(self, name: str, verb: str, options: Options, folder: Path) -> None:
        self.title = f"{name}: {verb}"
        self.folder = folder
        self.mark = family.new_mark()
        self.known: set[family.Process] = set()
        """Its processes so far: all that is needed to end those that carry no mark."""
        command = [sys.executable, "-m", "benchmarks.pool_trial", name, verb, json.dumps(asdict(options))]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                # What a library leaves in the folder for temporary files goes with this one.
                env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(folder), family.MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # So that a Ctrl-C of ours does not reach it before we end it.
                start_new_session=True,
            )

    def await_until(self, is_so: Callable[[], bool]) -> None:
        """Raises BenchmarkError where it ends before, or the time does."""
        deadline_s = time.monotonic() + ANSWER_WITHIN_S
        while not is_so():
            # Looked at once more: the last that it did may have been just that.
            if self.process.poll() is not None and not is_so():
                raise self.error(f"ended with {self.process.returncode}")
            if time.monotonic() > deadline_s:
                raise self.error(f"took more than {ANSWER_WITHIN_S:.0f} s")
            time.sleep(LOOK_EVERY_S)

    def look_round(self) -> None:
        """Remember it and all that it has started; they are ended with it."""
        # Once it was waited for, its id may be another's.
        if self.process.poll() is None:
            self.known.update(family.tree([self.process.pid]))

    def end(self) -> None:
        """Kill whatever is left of it."""
        self.look_round()
        family.end(self.mark, self.known)
        self.process.wait()

    def error(self, reason: str) -> BenchmarkError:
        return BenchmarkError(f"{self.title}: {reason}\n{tail(self._log.read_text(errors='replace'))}".rstrip())

    @property
    def _log(self) -> Path:
        return self.folder / "output.log"


@contextlib.contextmanager
def _trial(name: str, verb: str, options: Options) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        trial = Trial(name, verb, options, Path(folder))
        try:
            yield trial
        finally:
            trial.end()


def timings(name: str, options: Options) -> dict[str, float | None]:
    """Every figure that is a time or a rate. Raises BenchmarkError."""
    with _trial(name, "timings", options) as trial:
        figures: dict[str, float | None] = _answer(trial)
        # Ending it at once would leave behind what libraries take away when they are closed: files in /dev/shm.
        with contextlib.suppress(subprocess.TimeoutExpired):
            trial.process.wait(CLOSE_WITHIN_S)
        return figures


def harm_of_a_kill(name: str, options: Options) -> dict[str, float | None]:
    """How many calls have no result because one beside them was killed, and how many never end.

    Raises BenchmarkError.
    """
    with _trial(name, "killed", options) as trial:
        figures: dict[str, float | None] = _answer(trial)
        return figures


def left_by_a_killed_owner(name: str, options: Options) -> float:
    """The processes that are there LEFT_AFTER_S after SIGKILL of an owner whose children compute.

    Raises BenchmarkError.
    """
    with _trial(name, "owner", options) as trial:
        busy = trial.folder / BUSY
        trial.await_until(lambda: busy.is_dir() and len(list(busy.iterdir())) >= options.workers)
        trial.look_round()
        trial.process.kill()
        trial.process.wait()
        time.sleep(LEFT_AFTER_S)
        return float(len(family.living(trial.known | set(family.marked(trial.mark)))))


def _answer(trial: Trial) -> Any:
    file = trial.folder / ANSWER
    trial.await_until(file.exists)
    return json.loads(file.read_text())
