"""What `web_load.py` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import report
from benchmarks.report import Goal, Row, at_most

WAIT, COMPUTE = "jobs wait", "jobs compute"
KINDS = (WAIT, COMPUTE)


@dataclass(frozen=True)
class Figures:
    """What one phase measured."""

    site: str
    library: str
    """Its kind: what the jobs do."""
    latency_ms: list[float]
    """Of each ping."""
    failed_pings: int
    busy_cores: float
    memory_mb: float
    """Of the web processes, at the start of the phase."""
    grown_mb: float
    met: Mapping[str, Any]
    """What the visitors say."""

    def latency(self, percent: float) -> float:
        return report.percentile(self.latency_ms, percent)

    def count(self, name: str) -> float:
        return float(self.met["counts"].get(name, 0))

    @property
    def failures(self) -> float:
        return float(self.failed_pings + sum(self.met["failures"].values()))

    def delay(self, percent: str) -> float | None:
        delays = self.met["delay_ms"]
        return None if delays is None else float(delays[percent])


@dataclass(frozen=True)
class LoadRow(Row[Figures]):
    """A line of a table."""

    goals: Sequence[Goal] = ()


ROWS: Sequence[LoadRow] = (
    LoadRow("ping p50, ms", lambda f: f.latency(50), min, 2),
    LoadRow("ping p95, ms", lambda f: f.latency(95), min, 2, goals=(at_most(2, WAIT),)),
    LoadRow("ping p99, ms", lambda f: f.latency(99), min, 2),
    LoadRow("failed requests", lambda f: f.failures, None, 0, max, goals=(at_most(0),)),
    LoadRow("jobs sent", lambda f: f.count("sent"), None, 0),
    LoadRow("jobs followed to the end", lambda f: f.count("followed to the end"), None, 0),
    LoadRow("requests for events", lambda f: f.count("requests"), None, 0),
    LoadRow("age of the news p50, ms", lambda f: f.delay("50"), min, 0),
    LoadRow("age of the news p95, ms", lambda f: f.delay("95"), min, 0),
    LoadRow("cores that the site uses", lambda f: f.busy_cores, None, 2),
    LoadRow("memory of the web processes, MB", lambda f: f.memory_mb, None, 1, max),
    LoadRow("and grown in a phase, MB", lambda f: f.grown_mb, None, 1, max),
)


def tables(figures: Sequence[Figures]) -> list[str]:
    """A table for each site."""
    lines: list[str] = []
    for site in dict.fromkeys(f.site for f in figures):
        lines += [*_table(site, [f for f in figures if f.site == site]), ""]
    return lines


def _table(site: str, figures: Sequence[Figures]) -> list[str]:
    lines = [[site, *KINDS, "to reach", "reached"]]
    for row in ROWS:
        values = row.values(KINDS, figures)
        goals, reached = " and ".join(map(str, row.goals)), _reached(row, values)
        lines.append([row.title, *(row.cell(values[kind]) for kind in KINDS), goals, reached])
    return report.aligned(lines)


def _reached(row: LoadRow, values: report.Values) -> str:
    return report.reached([goal.is_reached(values[COMPUTE], values) for goal in row.goals]) if row.goals else ""


def as_json(header: Sequence[str], figures: Sequence[Figures]) -> dict[str, Any]:
    """Everything that is printed, and every sample."""
    return {"header": header, "phases": [asdict(f) for f in figures]}
