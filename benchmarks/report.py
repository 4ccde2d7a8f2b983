"""What is printed: on which machine, with which settings, and the table."""

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import ceil
from statistics import median
from typing import Any

from benchmarks.libraries import POLL_S, Library


@dataclass(frozen=True)
class Idle:
    """An idle worker."""

    load_percent: float
    """Of one core."""
    latency_ms: list[float]
    """Of each sample."""

    def latency(self, percent: float) -> float:
        """The smallest latency that so many percent of the samples do not exceed, in milliseconds."""
        return sorted(self.latency_ms)[ceil(len(self.latency_ms) * percent / 100) - 1]


@dataclass(frozen=True)
class Figures:
    """What one repetition measured of one library."""

    library: str
    enqueued_per_s: float
    drained_per_s: float
    fast: Idle
    """With peers polling every POLL_S."""
    default: Idle
    """With peers polling as by default."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    value: Callable[[Figures], float]
    best: Callable[[Sequence[float]], float] | None
    """Of the peers; None where the row is no contest: it says what the row above costs."""
    digits: int

    def ratio(self, ours: float, peers: Sequence[float]) -> str:
        """How many times better ours is than the best peer's."""
        if self.best is None:
            return ""
        best = self.best(peers)
        return f"{ours / best if self.best is max else best / ours:.1f}x"


FAST = f"peers poll every {POLL_S * 1000:.0f} ms"
DEFAULT = "peers poll as by default"
ROWS = (
    Row("enqueue one by one, jobs/s", lambda f: f.enqueued_per_s, max, 0),
    Row("drain on 2 processes, jobs/s", lambda f: f.drained_per_s, max, 0),
    Row(f"idle latency p50, ms; {FAST}", lambda f: f.fast.latency(50), min, 2),
    Row(f"idle latency p99, ms; {FAST}", lambda f: f.fast.latency(99), min, 2),
    Row(f"idle load, % of a core; {FAST}", lambda f: f.fast.load_percent, None, 1),
    Row(f"idle latency p50, ms; {DEFAULT}", lambda f: f.default.latency(50), min, 2),
    Row(f"idle latency p99, ms; {DEFAULT}", lambda f: f.default.latency(99), min, 2),
    Row(f"idle load, % of a core; {DEFAULT}", lambda f: f.default.load_percent, None, 1),
)


_SYNCHRONOUS = {
    "NORMAL": "NORMAL (the default of Treadle; a power failure may lose the last commits)",
    "FULL": "FULL (the default of Huey and of Django; a commit waits for the disk)",
    "DEFAULT": "as by default: NORMAL for Treadle, for the others that of SQLite, which is FULL",
}


@dataclass(frozen=True)
class Header:
    """Where and how it was measured."""

    date: str
    cores: int
    load: float
    """Processes that wanted a core, on average over the last minute before the run."""
    python: str
    sqlite: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    run: Mapping[str, Any]

    def lines(self) -> list[str]:
        """The header as text."""
        run = self.run
        return [
            f"{self.date}  {self.cores} cores, load {self.load:.1f} before  Python {self.python}  SQLite {self.sqlite}",
            f"{run['repetitions']} x {run['jobs']} jobs and {run['samples']} samples, medians",
            f"all: WAL, synchronous {_SYNCHRONOUS[run['synchronous']]}; no log line for a job that succeeds",
            *(f"{name}: {versions}; {self.settings[name]}" for name, versions in self.versions.items()),
            "",
        ]


def header(libraries: Sequence[Library], run: Mapping[str, Any]) -> Header:
    """The facts of this run."""
    return Header(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        cores=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[0],
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        versions={library.name: library.versions for library in libraries},
        settings={
            library.name: f"{library.notes}; polling by default: {library.default_polling}" for library in libraries
        },
        run={key: run[key] for key in ("repetitions", "jobs", "samples", "idle_s", "synchronous")},
    )


def medians(libraries: Sequence[Library], figures: Sequence[Figures], row: Row) -> list[float]:
    """One value for each library."""
    return [median(row.value(f) for f in figures if f.library == library.name) for library in libraries]


def table(libraries: Sequence[Library], figures: Sequence[Figures]) -> list[str]:
    """The aligned lines; the last column is how many times better the first library is than the best other."""
    cells = [["", *(library.name for library in libraries), "against best peer"]]
    for row in ROWS:
        ours, *peers = medians(libraries, figures, row)
        values = [f"{value:,.{row.digits}f}" for value in (ours, *peers)]
        cells.append([row.title, *values, row.ratio(ours, peers)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [_aligned(line, widths) for line in cells]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
    return "  ".join([line[0].ljust(len(first)), *others])


def as_json(header: Header, libraries: Sequence[Library], figures: Sequence[Figures]) -> dict[str, Any]:
    """Everything that is printed, and every sample."""
    names = [library.name for library in libraries]
    rows = {row.title: dict(zip(names, medians(libraries, figures, row), strict=True)) for row in ROWS}
    return {"header": asdict(header), "medians": rows, "repetitions": [asdict(f) for f in figures]}
