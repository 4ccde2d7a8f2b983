"""What all programs here print: on which machine, a table of medians, and how two figures compare."""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from statistics import median
from typing import Generic, Protocol, TypeVar

NOTHING = "-"
"""The cell of a figure that does not exist."""

Values = Mapping[str, float | None]
"""One figure of each library; None where it has no such thing."""


class Measured(Protocol):
    """What one repetition measured of one library."""

    @property
    def library(self) -> str: ...


F = TypeVar("F", bound=Measured)
T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    date: str
    cores: int
    load: float
    """Processes that wanted a core, on average over the last minute before the run."""
    python: str

    def __str__(self) -> str:
        return f"{self.date}  {self.cores} cores, load {self.load:.1f} before  Python {self.python}"


def machine() -> Machine:
    """This one, now."""
    return Machine(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        cores=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[0],
        python=platform.python_version(),
    )


@dataclass(frozen=True)
class Row(Generic[F]):
    """One line of the table."""

    title: str
    value: Callable[[F], float | None]
    best: Callable[[Iterable[float]], float] | None
    """Of several; None where the row is no contest."""
    digits: int
    over_repetitions: Callable[[Iterable[float]], float] = median
    """One figure out of those of the repetitions: the worst is the honest one where harm is counted."""

    def values(self, libraries: Sequence[str], figures: Sequence[F]) -> dict[str, float | None]:
        """One figure for each library."""
        return {library: self._of(library, figures) for library in libraries}

    def _of(self, library: str, figures: Sequence[F]) -> float | None:
        values = [self.value(f) for f in figures if f.library == library]
        there = [value for value in values if value is not None]
        return self.over_repetitions(there) if there else None

    def cell(self, value: float | None) -> str:
        """The figure as text."""
        return NOTHING if value is None else f"{value:,.{self.digits}f}"

    def ratio(self, ours: float | None, theirs: float | None) -> str:
        """How many times better ours is; nothing where one is missing, or noise around zero."""
        if self.best is None or ours is None or theirs is None or min(ours, theirs) <= 0:
            return NOTHING
        return f"{ours / theirs if self.best is max else theirs / ours:.1f}x"

    def best_of(self, values: Values) -> float | None:
        """The best figure that there is."""
        there = [value for value in values.values() if value is not None]
        return self.best(there) if self.best and there else None


Columns = Mapping[str, Callable[[Row[F]], str]]
"""The title of each column, and what gives its cell in a row."""


def table(rows: Sequence[Row[F]], columns: Columns[F]) -> list[str]:
    """The aligned lines."""
    return aligned([["", *columns], *([row.title, *(cell(row) for cell in columns.values())] for row in rows)])


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [_aligned(line, widths) for line in lines]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
    return "  ".join([line[0].ljust(len(first)), *others])


def figure_columns(libraries: Sequence[str], figures: Sequence[F]) -> dict[str, Callable[[Row[F]], str]]:
    """A column of figures for each library."""

    def column(library: str) -> Callable[[Row[F]], str]:
        return lambda row: row.cell(row.values([library], figures)[library])

    return {library: column(library) for library in libraries}


def medians(rows: Sequence[Row[F]], libraries: Sequence[str], figures: Sequence[F]) -> dict[str, Values]:
    """What the table shows, for JSON."""
    return {row.title: row.values(libraries, figures) for row in rows}


@dataclass(frozen=True)
class Goal:
    """What a figure of ours is to reach."""

    is_at_most: bool
    figure: float
    of: str = ""
    """The library of whose figure it is so many times; empty: it is the figure itself."""

    def __str__(self) -> str:
        sign = "<=" if self.is_at_most else ">="
        return f"{sign} {self.figure:,g} x {self.of}" if self.of else f"{sign} {self.figure:,g}"

    def is_reached(self, ours: float | None, others: Values) -> bool | None:
        """None where it cannot be said."""
        theirs = others.get(self.of) if self.of else 1.0
        if ours is None or theirs is None:
            return None
        return ours <= self.figure * theirs if self.is_at_most else ours >= self.figure * theirs


def at_most(figure: float, of: str = "") -> Goal:
    return Goal(is_at_most=True, figure=figure, of=of)


def at_least(figure: float, of: str = "") -> Goal:
    return Goal(is_at_most=False, figure=figure, of=of)


def reached(answers: Sequence[bool | None]) -> str:
    """All of several goals, as a cell."""
    return "no" if False in answers else NOTHING if None in answers or not answers else "yes"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def in_turn(libraries: Sequence[T], repetition: int) -> Sequence[T]:
    """The libraries, each time another one first: none has the quiet moments of the machine for itself."""
    first = repetition % len(libraries)
    return [*libraries[first:], *libraries[:first]]


def say(text: str) -> None:
    """What is being measured, on a terminal; each time over the last."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
