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
    bulk_per_s: float | None
    drained_per_s: float
    fast: Idle
    """With peers polling every POLL_S."""
    default: Idle | None
    """With peers polling as by default."""


# A row of `report` is a column here, where there are more libraries than figures. A load is no contest: it says what
# the latency beside it costs.
FIGURES: Sequence[Row[Figures]] = (
    Row("sent/s", lambda f: f.enqueued_per_s, max, 0),
    Row("bulk/s", lambda f: f.bulk_per_s, max, 0),
    Row("drained/s", lambda f: f.drained_per_s, max, 0),
    Row("p50 ms", lambda f: f.fast.latency(50), min, 2),
    Row("p99 ms", lambda f: f.fast.latency(99), min, 2),
    Row("load %", lambda f: f.fast.load_percent, None, 1),
    Row("p50 ms*", lambda f: f.default.latency(50) if f.default else None, min, 2),
    Row("p99 ms*", lambda f: f.default.latency(99) if f.default else None, min, 2),
    Row("load %*", lambda f: f.default.load_percent if f.default else None, None, 1),
)
LEGEND = (
    "",
    "sent/s: one by one; bulk/s: a thousand in each call; drained/s: by the library's own worker on 2 processes",
    f"p50, p99: from a send to the run on an idle worker; load: of one core, while idle; peers poll every {POLL_S * 1e3:.0f} ms",
    "*: peers poll as by default",
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
    servers: Sequence[str]
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    run: Mapping[str, Any]

    def lines(self) -> list[str]:
        """The header as text."""
        run = self.run
        return [
            f"{self.machine}",
            f"{run['repetitions']} x {run['jobs']} jobs (slower libraries: fewer) and {run['samples']} samples, medians",
            f"SQLite {self.sqlite}: WAL, synchronous {_SYNCHRONOUS[run['synchronous']]}",
            *self.servers,
            "no log line for a job that succeeds",
            *(f"{name}: {versions}; {self.settings[name]}" for name, versions in self.versions.items()),
            "",
        ]


def header(machine: Machine, libraries: Sequence[Library], run: Mapping[str, Any], servers: Sequence[str]) -> Header:
    """The facts of this run."""
    there = [library for library in libraries if library.missing() is None]
    return Header(
        machine=machine,
        sqlite=sqlite3.sqlite_version,
        servers=servers,
        versions={library.name: library.versions for library in there},
        settings={library.name: "; ".join(_settings(library)) for library in there},
        run={key: run[key] for key in ("repetitions", "jobs", "samples", "idle_s", "synchronous")},
    )


def _settings(library: Library) -> list[str]:
    polling = f"polls by default: {library.default_polling}" if library.default_polling else "is woken"
    return [library.notes, polling]


def table(libraries: Sequence[Library], figures: Sequence[Figures]) -> list[str]:
    """A line for each library; below, how ours compare with the best of the others in each column."""
    names = [library.name for library in libraries]
    columns = [(figure, figure.values(names, figures)) for figure in FIGURES]
    lines = [
        ["", *(figure.title for figure in FIGURES)],
        *([name, *(figure.cell(values[name]) for figure, values in columns)] for name in names),
        *([f"{name}: best peer x", *_ratios(name, libraries, figures)] for name in _ours(libraries)),
    ]
    return [*report.aligned(lines), *LEGEND, *_best_peers(libraries, figures)]


def _ours(libraries: Sequence[Library]) -> list[str]:
    return [library.name for library in libraries if library.is_ours]


def _ratios(name: str, libraries: Sequence[Library], figures: Sequence[Figures]) -> list[str]:
    """How many times better it is than the best peer."""
    peers = [library.name for library in libraries if not library.is_ours]
    return [
        figure.ratio(figure.values([name], figures)[name], figure.best_of(figure.values(peers, figures)))
        for figure in FIGURES
    ]


def _best_peers(libraries: Sequence[Library], figures: Sequence[Figures]) -> list[str]:
    peers = [library.name for library in libraries if not library.is_ours]
    found = []
    for figure in FIGURES:
        values = figure.values(peers, figures)
        best = figure.best_of(values)
        found += [f"{figure.title}: {name}" for name, value in values.items() if value == best and best is not None]
    return [f"best peers: {'; '.join(found)}"] if found else []


def as_json(header: Header, libraries: Sequence[Library], figures: Sequence[Figures]) -> dict[str, Any]:
    """Everything that is printed, and every sample."""
    return {
        "header": asdict(header),
        "medians": report.medians(FIGURES, [library.name for library in libraries], figures),
        "repetitions": [asdict(f) for f in figures],
    }
