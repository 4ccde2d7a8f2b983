"""The named statements of a store, read from its `.sql` files."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import Any, NamedTuple

_PARAMETER = re.compile(r":(\w+)")
_HEADING = re.compile(r"^-- (name|fragment): (\w+)\n", re.MULTILINE)


class Queries:
    """Statements by name: `queries["claim"]`. An unknown name is a KeyError at the first call of a test."""

    def __init__(self, text: str) -> None:
        sections = _HEADING.split(text)[1:]
        fragments: dict[str, str] = {}
        self._statements: dict[str, str] = {}
        for kind, name, body in zip(sections[::3], sections[1::3], sections[2::3], strict=True):
            kept = fragments if kind == "fragment" else self._statements
            if name in kept:
                raise ValueError(f"the {kind} {name!r} is there twice")
            kept[name] = _without_comments(body)
        for fragment, shared in fragments.items():
            for name, statement in self._statements.items():
                self._statements[name] = statement.replace(f"{{{fragment}}}", shared)

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)


class ByPosition(NamedTuple):
    """A statement of SQLite for many rows: its driver looks up named values one by one, a quarter of an insertion."""

    text: str
    values: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    """Gives the values of a row in the order of the statement."""


def by_position(statement: str) -> ByPosition:
    """A statement with two named parameters or more."""
    return ByPosition(_PARAMETER.sub("?", statement), itemgetter(*_PARAMETER.findall(statement)))


@cache
def load(dialect: str) -> Queries:
    """The statements of a dialect: `sqlite`."""
    folder = files("treadle.store") / "sql" / dialect
    return Queries((folder / "queries.sql").read_text(encoding="utf-8"))


def _without_comments(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines).strip().removesuffix(";")
