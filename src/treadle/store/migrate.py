"""Numbered migrations, applied in order and never edited.

`meta.schema_version` says how far a store was migrated, `meta.min_code_version` the oldest schema
version that code must know to use it: so a newer schema serves older code during a rolling upgrade,
until a migration raises that number.
"""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from treadle.errors import SchemaMissing, SchemaTooNew


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    statements: tuple[str, ...]


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """All migrations of a dialect, in order."""
    folder = files("treadle.store") / "sql" / dialect / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(_read(name, (folder / name).read_text(encoding="utf-8")) for name in names)


def code_version(dialect: str) -> int:
    """The newest schema version that this code knows."""
    return migrations(dialect)[-1].number


def check_version(
    dialect: str, found: int | None, min_code_version: int, where: str, missing: str = "run `treadle migrate`"
) -> None:
    """Refuse a schema that this code cannot use. Raises SchemaMissing, with `missing` as what to do, or SchemaTooNew."""
    known = code_version(dialect)
    if found is None:
        raise SchemaMissing(f"{where} has no tables of Treadle yet: {missing}")
    if min_code_version > known:
        raise SchemaTooNew(
            f"{where} was migrated to schema {found} by a newer Treadle, and needs code that knows schema "
            f"{min_code_version}; this one knows {known}: upgrade the package 'treadle' here"
        )
    if found < known:
        raise SchemaMissing(f"{where} has schema {found}, and this Treadle needs {known}: {missing}")


def _read(file_name: str, text: str) -> Migration:
    number, _, name = file_name.removesuffix(".sql").partition("_")
    return Migration(int(number), name, tuple(_statements(text)))


def _statements(text: str) -> Iterator[str]:
    """The statements of a migration: each ends with a semicolon at the end of a line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for statement in "\n".join(lines).split(";\n"):
        if statement.strip(" \n;"):
            yield statement.strip(" \n;")
