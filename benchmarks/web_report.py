"""What `web_latency.py` prints."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import report
from benchmarks.report import NOTHING, Goal, Machine, Row, at_most

IDLE, OURS, VIEW, EXECUTOR = "idle", "Treadle", "in the view", "ProcessPoolExecutor"
CONDITIONS = (IDLE, OURS, VIEW, EXECUTOR)


@dataclass(frozen=True)
class Figures:
    """What one phase measured."""

    library: str
    """The condition: idle, or where it computes."""
    latency_ms: list[float]
    """Of each ping."""
    failed: int
    busy_cores: float
    """Processor time of the site, by the time that passed."""

    def latency(self, percent: float) -> float:
        return report.percentile(self.latency_ms, percent)


@dataclass(frozen=True)
class Memory:
    """All processes of a site with many web processes, at one moment."""

    moment: str
    processes: int
    pss_mb: float


@dataclass(frozen=True)
class WebRow(Row[Figures]):
    """A line of the table, and of the table of ratios."""

    goals: Sequence[Goal] = ()


ROWS: Sequence[WebRow] = (
    WebRow("ping p50, ms", lambda f: f.latency(50), min, 2, goals=(at_most(1.25, IDLE),)),
    WebRow("ping p95, ms", lambda f: f.latency(95), min, 2, goals=(at_most(1.25, IDLE),)),
    WebRow("ping p99, ms", lambda f: f.latency(99), min, 2, goals=(at_most(6),)),
    WebRow("failed pings", lambda f: float(f.failed), None, 0, max, goals=(at_most(0),)),
    WebRow("cores that the site uses", lambda f: f.busy_cores, None, 2, goals=()),
)


@dataclass(frozen=True)
class Header:
    """Where and how it was measured."""

    machine: Machine
    repetitions: int
    phase_s: float
    web_processes: int
    memory_processes: int
    children: int

    def lines(self) -> list[str]:
        """The header as text."""
        site = f"gunicorn -w {self.web_processes} --threads 4, {self.children} children in each pool"
        phases = f"{self.repetitions} repetitions of idle and busy phases in turn, {self.phase_s:g} s each"
        return [
            str(self.machine),
            f"{site}; Treadle: all defaults, its children run at niceness 10",
            f"{phases}; medians, of failed pings the worst",
            "",
        ]


def table(figures: Sequence[Figures]) -> list[str]:
    """The figures."""
    return report.table(ROWS, report.figure_columns(CONDITIONS, figures))


def ratios(figures: Sequence[Figures]) -> list[str]:
    """How many times the idle figure each is, and whether ours is good enough."""
    lines = [["against idle", *CONDITIONS[1:], "to reach", "reached"]]
    lines += [_ratio_line(row, row.values(CONDITIONS, figures)) for row in ROWS if row.goals]
    return report.aligned(lines)


def _ratio_line(row: WebRow, values: report.Values) -> list[str]:
    return [
        row.title,
        *(_times(values[condition], values[IDLE]) for condition in CONDITIONS[1:]),
        " and ".join(map(str, row.goals)),
        _reached(row, values),
    ]


def _reached(row: WebRow, values: report.Values) -> str:
    return report.reached([goal.is_reached(values[OURS], values) for goal in row.goals])


def _times(value: float | None, idle: float | None) -> str:
    return f"{value / idle:.2f}x" if value is not None and idle else NOTHING


def memory_table(memory: Sequence[Memory], web_processes: int) -> list[str]:
    """What the pools add to the site; the first is the site without them."""
    before = memory[0].pss_mb
    titles = ["processes", "PSS, MB", "added, MB", "added by each web process, MB"]
    lines = [[f"gunicorn -w {web_processes}", *titles]]
    for now in memory:
        added = now.pss_mb - before
        cells = [str(now.processes), *(f"{mb:,.1f}" for mb in (now.pss_mb, added, added / web_processes))]
        lines.append([now.moment, *cells])
    return report.aligned(lines)


def as_json(header: Header, figures: Sequence[Figures], memory: Sequence[Memory]) -> dict[str, Any]:
    """Everything that is printed, and every sample."""
    return {
        "header": asdict(header),
        "medians": report.medians(ROWS, CONDITIONS, figures),
        "goals": {row.title: _reached(row, row.values(CONDITIONS, figures)) for row in ROWS if row.goals},
        "memory": [asdict(moment) for moment in memory],
        "phases": [asdict(f) for f in figures],
    }
