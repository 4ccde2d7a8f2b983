"""The processes of a worker and of a server, and how to kill one of them."""

import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.end_to_end.server import Program


def children_of(pid: int) -> list[int]:
    """Those that have this parent now."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # Others come and go.
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


class Service:
    """A program that is started again whenever it has died, as a service manager does."""

    def __init__(self, *command: str, folder: Path) -> None:
        self._command, self._folder = command, folder
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        self.keep_alive()
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            program.kill()
        print("\n".join(f"--- {program.output}" for program in self._programs))

    def keep_alive(self) -> None:
        if not self._programs or not self._programs[-1].is_running:
            self._programs.append(Program(self._command, self._folder, {}))

    @property
    def pid(self) -> int:
        return self._programs[-1].pid


class Killer:
    """Kills processes of some kinds, in turn, and counts."""

    def __init__(self, workers: list[Service], server: Program) -> None:
        self._workers = workers
        self._server = server
        self.kills: Counter[str] = Counter()
        self._turns: Iterator[tuple[str, Callable[[], list[int]]]] = itertools.cycle(
            [
                ("child", self._children),
                ("zygote", self._zygotes),
                ("child", self._children),
                ("web process", self._web_processes),
                ("child", self._children),
                ("worker", lambda: [worker.pid for worker in self._workers]),
            ]
        )

    def strike(self) -> None:
        """Kill one of the next kind, if there is one just now."""
        kind, find = next(self._turns)
        for pid in random.sample(found := find(), min(1, len(found))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[kind] += 1
        for worker in self._workers:
            worker.keep_alive()

    def _zygotes(self) -> list[int]:
        return [zygote for worker in self._workers for zygote in children_of(worker.pid)]

    def _children(self) -> list[int]:
        return [child for zygote in self._zygotes() for child in children_of(zygote)]

    def _web_processes(self) -> list[int]:
        return children_of(self._server.pid)
