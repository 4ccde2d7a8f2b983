"""The tables in a SQLite file, as the migrations make them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests import golden

from treadle.store import migrate
from treadle.store.sqlite import SqliteStore, apply, schema_version
from treadle.store.sqlite_file import SqliteFile

GOLDEN = Path(__file__).parent / "schema.sqlite.sql"


def schema(connection: sqlite3.Connection) -> str:
    """All that the migrations have made, in SQLite's own words."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
    return "".join(f"{sql};\n\n" for (sql,) in connection.execute(query))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def prepare(path: Path) -> None:
    store = SqliteStore(SqliteFile(path))
    store.prepare()
    store.close()


def test_the_schema_is_the_golden_one(path: Path, connection: sqlite3.Connection) -> None:
    """A change of it is meant: `schema.sqlite.sql` beside this file is written anew with it."""
    prepare(path)
    golden.check(GOLDEN, schema(connection))


@pytest.mark.parametrize("number", range(1, migrate.code_version("sqlite")))
def test_each_earlier_version_is_migrated_to_the_same_schema(
    path: Path, connection: sqlite3.Connection, number: int
) -> None:
    """Whatever version a file has had."""
    for step in migrate.migrations("sqlite")[:number]:
        apply(connection, step)
    prepare(path)
    assert schema(connection) == GOLDEN.read_text()
    assert schema_version(connection) == migrate.code_version("sqlite")
