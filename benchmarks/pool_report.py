"""What `pool.py` prints: its rows, and what each is to reach."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import report
from benchmarks.chart import Group, bars
from benchmarks.pool_peers import PEERS, Peer, versions
from benchmarks.pool_trial import OTHERS, Options
from benchmarks.report import Goal, Machine, Row, Values, at_least, at_most

OURS, EXECUTOR, MP_POOL, BEST = "Treadle", "ProcessPoolExecutor", "mp.Pool", "the best peer"


@dataclass(frozen=True)
class Figures:
    """What one repetition measured of one library."""

    library: str
    values: Mapping[str, float | None]
    """By the key of each row; None where the library has no such verb."""


@dataclass(frozen=True)
class PoolRow(Row[Figures]):
    """A line of the table, and of the table of goals."""

    goals: Sequence[Goal] = ()
    unit: str = ""
    """That of the chart; empty: not in it."""

    def peers_best(self, values: Values) -> float | None:
        """The best figure of those with which it is a contest."""
        return self.best_of({name: v for name, v in values.items() if name != OURS and PEERS[name].is_contest})

    def reached(self, values: Values) -> str:
        """Whether every goal is."""
        theirs = {**values, BEST: self.peers_best(values)}
        return report.reached([goal.is_reached(values.get(OURS), theirs) for goal in self.goals])


def _of(key: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.values[key]


ROWS: Sequence[PoolRow] = (
    PoolRow(
        "submit to result p50, us", _of("round_trip_us"), min, 0,
        goals=(at_most(0.4, EXECUTOR), at_most(1, MP_POOL)), unit="µs",
    ),
    PoolRow(
        "no-op submits a second", _of("submits_per_s"), max, 0,
        goals=(at_least(120_000), at_least(2, BEST)), unit="calls/s",
    ),
    PoolRow(
        "map, default chunks, items/s", _of("items_per_s"), max, 0, goals=(at_least(1, BEST),), unit="items/s"
    ),
    PoolRow("array to a child, ms over local sum", _of("array_ms"), min, 1, goals=(at_most(20),), unit="ms"),
    PoolRow("the same, shared before", _of("shared_array_ms"), min, 1, goals=(at_most(1),)),
    PoolRow("speed-up, pure Python", _of("speed_up"), max, 2, goals=(at_least(1.97),)),
    PoolRow(f"one of {OTHERS + 1} calls killed: others harmed", _of("harmed"), None, 0, max, goals=(at_most(0),)),
    PoolRow(f"and without an end, of all {OTHERS + 1}", _of("endless"), None, 0, max, goals=(at_most(0),)),
    PoolRow("owner killed: processes left after 1 s", _of("left"), None, 0, max, goals=(at_most(0),)),
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """Where and how it was measured."""

    machine: Machine
    versions: Mapping[str, str]
    repetitions: int
    options: Options
    skipped: Sequence[str]

    def lines(self) -> list[str]:
        """The header as text."""
        options = self.options
        return [
            str(self.machine),
            f"{options.workers} workers each; {self.repetitions} repetitions; medians, in the last three rows the worst",
            f"each: {_counts(options)}",
            *(f"{name}: {version}{_notes(name)}" for name, version in self.versions.items()),
            *self.skipped,
            "",
        ]


def _counts(options: Options) -> str:
    return (
        f"{options.count(Peer.samples)} round trips, {options.count(Peer.submits)} submits, "
        f"{options.count(Peer.items)} items, fewer of the slow; {options.array_samples} arrays of "
        f"{options.array_mb} MB; {options.parts} parts of {options.part_s:g} s; {options.deadline_s:g} s after a kill"
    )


def _notes(name: str) -> str:
    return f"; {PEERS[name].notes}" if PEERS[name].notes else ""


def header(libraries: Sequence[str], repetitions: int, options: Options, skipped: Sequence[str]) -> Header:
    """The facts of this run."""
    return Header(report.machine(), {name: versions(name) for name in libraries}, repetitions, options, skipped)


def table(libraries: Sequence[str], figures: Sequence[Figures]) -> list[str]:
    """The figures."""
    return report.table(ROWS, report.figure_columns(libraries, figures))


def goals(libraries: Sequence[str], figures: Sequence[Figures]) -> list[str]:
    """How many times better ours is, and whether that is enough."""
    lines = [["", "Treadle", "against best peer", "against executor", "against mp.Pool", "to reach", "reached"]]
    lines += [_goal_line(row, row.values(libraries, figures)) for row in ROWS]
    return report.aligned(lines)


def _goal_line(row: PoolRow, values: Values) -> list[str]:
    ours = values.get(OURS)
    return [
        row.title,
        row.cell(ours),
        *(row.ratio(ours, theirs) for theirs in (row.peers_best(values), values.get(EXECUTOR), values.get(MP_POOL))),
        " and ".join(map(str, row.goals)),
        row.reached(values),
    ]


def chart(header: Header, libraries: Sequence[str], figures: Sequence[Figures]) -> str:
    """The rows that are times or rates, as SVG."""
    groups = [
        Group(
            title=f"{row.title.rpartition(',')[0] or row.title} ({'less' if row.best is min else 'more'} is better)",
            unit=row.unit,
            values={name: value for name, value in row.values(libraries, figures).items() if value is not None},
        )
        for row in ROWS
        if row.unit
    ]
    about = f"{header.options.workers} workers each on {header.machine.cores} cores, Python {header.machine.python}"
    return bars(f"Process pools, {about}", groups, highlighted=OURS)


def as_json(header: Header, libraries: Sequence[str], figures: Sequence[Figures]) -> dict[str, Any]:
    """Everything that is printed, and the figures of each repetition."""
    return {
        "header": asdict(header),
        "medians": report.medians(ROWS, libraries, figures),
        "goals": {row.title: row.reached(row.values(libraries, figures)) for row in ROWS},
        "repetitions": [asdict(f) for f in figures],
    }
