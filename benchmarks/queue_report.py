"""What `queue.py` prints."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import report
from benchmarks.libraries import POLL_S, Library
from benchmarks.report import Machine, Row


@dataclass(frozen=True)
class Idle:
    """An idle worker."""

    load_percent: float
    """Of one core."""
    latency_ms: list[float]
    """Of each sample."""

    def latency(self, percent: float) -> float:
        """The smallest latency that so many percent of the samples do not exceed, in milliseconds."""
        return report.percentile(self.latency_ms, percent)


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


FAST = f"peers poll every {POLL_S * 1000:.0f} ms"
DEFAULT = "peers poll as by default"
# The idle load is no contest: it says what the row above costs.
ROWS: Sequence[Row[Figures]] = (
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

    machine: Machine
    sqlite: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    run: Mapping[str, Any]

    def lines(self) -> list[str]:
        """The header as text."""
        run = self.run
        return [
            f"{self.machine}  SQLite {self.sqlite}",
            f"{run['repetitions']} x {run['jobs']} jobs and {run['samples']} samples, medians",
            f"all: WAL, synchronous {_SYNCHRONOUS[run['synchronous']]}; no log line for a job that succeeds",
            *(f"{name}: {versions}; {self.settings[name]}" for name, versions in self.versions.items()),
            "",
        ]


def header(libraries: Sequence[Library], run: Mapping[str, Any]) -> Header:
    """The facts of this run."""
    return Header(
        machine=report.machine(),
        sqlite=sqlite3.sqlite_version,
        versions={library.name: library.versions for library in libraries},
        settings={
            library.name: f"{library.notes}; polling by default: {library.default_polling}" for library in libraries
        },
        run={key: run[key] for key in ("repetitions", "jobs", "samples", "idle_s", "synchronous")},
    )


def table(libraries: Sequence[Library], figures: Sequence[Figures]) -> list[str]:
    """The last column is how many times better the first library is than the best other."""
    ours, *peers = (library.name for library in libraries)

    def against_best(row: Row[Figures]) -> str:
        ratio = row.ratio(row.values([ours], figures)[ours], row.best_of(row.values(peers, figures)))
        return ratio if row.best else ""

    columns = report.figure_columns([ours, *peers], figures)
    return report.table(ROWS, {**columns, "against best peer": against_best})


def as_json(header: Header, libraries: Sequence[Library], figures: Sequence[Figures]) -> dict[str, Any]:
    """Everything that is printed, and every sample."""
    return {
        "header": asdict(header),
        "medians": report.medians(ROWS, [library.name for library in libraries], figures),
        "repetitions": [asdict(f) for f in figures],
    }
