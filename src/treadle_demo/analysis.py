"""What the demo computes, as pure functions: `analyse` one file, then `combine` what all files gave.

Both are plain Python and know nothing of Treadle. Results are JSON, and small: they go through the
store, so a file gives its totals, its own top ten and the digests of its longer functions, no more.
"""

import ast
import hashlib
import os.path
from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import nlargest
from pathlib import Path
from typing import Any, NamedTuple

TOP = 10
TWIN_LINES = 10
"""Shorter functions are alike by chance: a property, an empty `__init__`."""

Result = dict[str, Any]
Row = list[Any]
"""A function in a list of results: the number it is listed for, its file, its line, its name."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
BRANCHES = (ast.If, ast.IfExp, *LOOPS, ast.ExceptHandler, ast.BoolOp, ast.comprehension, ast.match_case)
NESTING = (ast.If, *LOOPS, ast.With, ast.AsyncWith, ast.Try, ast.Match, *FUNCTIONS, ast.ClassDef)


class Function(NamedTuple):
    """One function as measured."""

    name: str
    line: int
    lines: int
    branches: int
    nesting: int
    digest: str
    """Alike for functions that differ in nothing but layout and comments; empty for short ones."""


# One file


def analyse(path: str) -> Result:
    """The functions of one file; where it cannot be read or parsed, why. Never raises for its content."""
    try:
        source = Path(path).read_bytes()
        functions = list(functions_of(ast.parse(source, path)))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"path": path, "error": _in_words(error)}
    return {
        "path": path,
        "bytes": len(source),
        "lines": source.count(b"\n"),
        "functions": len(functions),
        "branches": sum(f.branches for f in functions),
        "nesting": max((f.nesting for f in functions), default=0),
        "longest": [[f.lines, f.line, f.name] for f in nlargest(TOP, functions, key=lambda f: f.lines)],
        "branched": [[f.branches, f.line, f.name] for f in nlargest(TOP, functions, key=lambda f: f.branches)],
        "digests": [f"{f.digest} {f.lines} {f.line} {f.name}" for f in functions if f.digest],
    }


def functions_of(tree: ast.AST) -> Iterator[Function]:
    """Every function in a tree, those within functions too."""
    return (measure(node) for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def measure(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    return Function(
        name=node.name,
        line=node.lineno,
        lines=lines,
        branches=sum(isinstance(inner, BRANCHES) for inner in ast.walk(node)),
        nesting=nesting(node.body),
        digest=digest(node) if lines >= TWIN_LINES else "",
    )


def nesting(statements: Iterable[ast.AST]) -> int:
    """How deep compound statements stand in each other; an `elif` is as deep as its `if`."""
    return max((_depth(statement) for statement in statements), default=0)


def _depth(node: ast.AST) -> int:
    parts = [getattr(node, name, ()) for name in ("body", "handlers", "cases", "finalbody")]
    inner = max((nesting(part) for part in parts if isinstance(part, list)), default=0)
    orelse = getattr(node, "orelse", None)
    is_elif = isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
    own = isinstance(node, NESTING)
    other = nesting(orelse) - is_elif if isinstance(orelse, list) else 0
    return own + max(inner, other)


def digest(node: ast.AST) -> str:
    """A hash of the tree without positions: layout and comments do not count, names do."""
    return hashlib.blake2b(ast.dump(node).encode(errors="backslashreplace"), digest_size=8).hexdigest()


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()


# All files


def combine(results: list[Result]) -> Result:
    """The totals, the ten longest and most branched functions, the twins, and the files that did not parse."""
    parsed = [result for result in results if "error" not in result]
    base = _common_folder(results)
    return {
        "files": len(results),
        **{name: sum(result[name] for result in parsed) for name in ("bytes", "lines", "functions", "branches")},
        "nesting": max((result["nesting"] for result in parsed), default=0),
        "longest": _top(parsed, "longest", base),
        "branched": _top(parsed, "branched", base),
        "twins": _twins(parsed, base),
        "unparsed": _unparsed(results, base),
    }


def _top(parsed: list[Result], name: str, base: str) -> list[Row]:
    rows = [[number, r["path"], line, function] for r in parsed for number, line, function in r[name]]
    rows.sort(key=lambda row: (-row[0], *row[1:]))
    return [[number, _within(base, path), line, function] for number, path, line, function in rows[:TOP]]


def _twins(parsed: list[Result], base: str) -> Result:
    """The functions that stand word for word in more than one file, and the longest of them."""
    files_by_digest: dict[str, dict[str, str]] = defaultdict(dict)
    for result in parsed:
        for text in result["digests"]:
            key, _, place = text.partition(" ")
            files_by_digest[key].setdefault(result["path"], place)
    twins = [files for files in files_by_digest.values() if len(files) > 1]
    rows = sorted((_twin(files, base) for files in twins), key=lambda row: (-row[0], *row[1:]))
    return {"functions": len(twins), "copies": sum(map(len, twins)), "longest": rows[:TOP]}


def _twin(files: dict[str, str], base: str) -> Row:
    """Lines, the first file in the alphabet, line and name there, and how many files in all."""
    first = min(files)
    lines, line, name = files[first].split(" ", 2)
    return [int(lines), _within(base, first), int(line), name, len(files)]


def _unparsed(results: list[Result], base: str) -> Result:
    rows = sorted([_within(base, r["path"]), r["error"]] for r in results if "error" in r)
    return {"files": len(rows), "first": rows[:TOP]}


def _common_folder(results: list[Result]) -> str:
    folders: set[str] = {os.path.dirname(result["path"]) for result in results}
    try:
        return os.path.commonpath(folders)
    except ValueError:
        return ""


def _within(base: str, path: str) -> str:
    """A path as it is shown: without the folder that all files share."""
    return path.removeprefix(base).removeprefix("/")
