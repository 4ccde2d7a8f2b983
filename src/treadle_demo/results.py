"""The tables of an analysis, in a terminal."""

from collections.abc import Sequence
from typing import Any

from treadle_demo.terminal import counted, say, table

FILE_WIDTH = 44
REASON_WIDTH = 70


def show(result: dict[str, Any]) -> None:
    """The same tables as the page shows."""
    say()
    names = ("files", "lines", "functions", "branches")
    say("  " + ", ".join(f"{result[name]:,} {name}" for name in names) + f"; nested up to {result['nesting']} deep")
    _functions("Longest functions", "lines", result["longest"])
    _functions("Most branched functions", "branches", result["branched"])
    _twins(result["twins"])
    _unparsed(result["unparsed"])


def _functions(title: str, unit: str, rows: Sequence[Sequence[Any]]) -> None:
    say(f"\n  {title}\n")
    table([unit, "function", "file"], [[number, name, _place(file, line)] for number, file, line, name in rows])


def _twins(twins: dict[str, Any]) -> None:
    functions = counted(twins["functions"], "function")
    say(f"\n  Word for word in more than one file: {functions}, {twins['copies']:,} copies\n")
    rows = [[lines, files, name, _place(file, line)] for lines, file, line, name, files in twins["longest"]]
    if rows:
        table(["lines", "files", "function", "one of the files"], rows)


def _unparsed(unparsed: dict[str, Any]) -> None:
    say(f"\n  Files that do not parse: {unparsed['files']}")
    for file, reason in unparsed["first"]:
        say(f"    {_short(file)}: {_cut(reason)}")


def _place(file: str, line: int) -> str:
    return f"{_short(file)}:{line}"


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON_WIDTH else f"{reason[: REASON_WIDTH - 1]}…"


def _short(file: str) -> str:
    return file if len(file) <= FILE_WIDTH else f"…{file[-FILE_WIDTH + 1 :]}"
