"""The store in Django's own database, where that is SQLite: on Django's connection, in whatever transaction it is in."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.db import connections

from treadle.errors import ConfigurationError
from treadle.store.contract import Wakeup
from treadle.store.sqlite import SqliteStore, SqliteVerbs, check_schema
from treadle.store.sqlite_file import SqliteFile, explained, immediate, part_of_transaction
from treadle.store.wakeup import POLL_S, LocalWakeup

MISSING = "run `python manage.py migrate`"
LOCKED = (
    "a transaction that began with a read cannot write once another connection has written: set "
    'DATABASES[…]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}'
)


def file_of(alias: str, synchronous: str = "NORMAL") -> SqliteFile | None:
    """The SQLite file of a database, for connections of our own; None where it is in memory, as in a test.

    Raises ConfigurationError for another kind of database.
    """
    connection: Any = connections[alias]
    if connection.vendor != "sqlite":
        raise ConfigurationError(
            f"the database {alias!r} is {connection.vendor}; Treadle keeps jobs in SQLite or PostgreSQL"
        )
    if connection.is_in_memory_db():
        return None
    return SqliteFile(Path(connection.settings_dict["NAME"]), synchronous=synchronous, missing=MISSING)


def usable(alias: str) -> Any:
    """Django's connection of this thread, connected. Raises where a test has no part in that database."""
    connection: Any = connections[alias]
    connection.ensure_connection()
    if "cursor" in connection.__dict__:
        # SimpleTestCase forbids a database by what it puts in place of this method, which we would not meet.
        connection.cursor().close()
    return connection


class DjangoConnections:
    """Gives the store Django's connection of the current thread."""

    def __init__(self, alias: str, file: SqliteFile | None) -> None:
        self._alias = alias
        self._file = file
        self._where = f"the database {alias!r}"

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with explained(self._where, MISSING, LOCKED):
            yield self._raw()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with explained(self._where, MISSING, LOCKED):
            raw = self._raw()
            if raw.in_transaction:
                # Django began it, or we did, further out; whoever did ends it.
                with part_of_transaction(raw):
                    yield raw
                return
            with self._file.writer_lock() if self._file else nullcontext(), immediate(raw):
                yield raw

    def _raw(self) -> sqlite3.Connection:
        connection: Any = usable(self._alias)
        raw: sqlite3.Connection = connection.connection
        return raw


class DjangoStore(SqliteVerbs):
    """What an application sends and looks with: Django's connection, Django's transaction."""

    def __init__(self, alias: str, file: SqliteFile | None) -> None:
        super().__init__(DjangoConnections(alias, file))
        self._alias = alias
        self._own = WorkerStore(file) if file else None

    def prepare(self) -> None:
        """Nothing: the tables are those of a migration, and a query would be a surprise here."""

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def is_in_transaction(self) -> bool:
        return bool(connections[self._alias].in_atomic_block)

    def wakeup(self) -> Wakeup:
        return self._own.wakeup() if self._own is not None else _PollingWakeup()

    def upkeep(self) -> None:
        pass

    def __str__(self) -> str:
        return f"the database {self._alias!r}"


class WorkerStore(SqliteStore):
    """What a worker uses: connections of its own to the same file."""

    def prepare(self) -> None:
        """Set WAL, so that readers and the writer do not wait for each other; the tables are Django's to make."""
        with self.file.locked() as connection:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            check_schema(connection, str(self), MISSING)


class _PollingWakeup(LocalWakeup):
    """For a database in memory, whose changes nothing tells of."""

    def wait(self, timeout_s: float) -> bool:
        super().wait(min(timeout_s, POLL_S))
        return True
