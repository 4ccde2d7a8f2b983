"""The store on a caller's connection to a SQLite file.

The writer's lock is not taken: the caller may hold SQLite's own already, and who holds ours may wait for that.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, cast

from treadle.store.joined import MISSING, Joined, nothing_to_join
from treadle.store.sqlite import SqliteVerbs
from treadle.store.sqlite_file import explained, part_of_transaction

LOCKED = (
    "another connection wrote for longer than the time-out of this one, or has written since its transaction began "
    "with a read, which then can never write: begin it with BEGIN IMMEDIATE "
    '(sqlite3.connect(…, isolation_level="IMMEDIATE"); SQLAlchemy: connect_args={"isolation_level": "IMMEDIATE"}; '
    'Django: OPTIONS={"transaction_mode": "IMMEDIATE"})'
)


class CallersConnection:
    """Gives the store the caller's connection, inside the caller's transaction."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with explained(self.where, MISSING, LOCKED), _as_ours(self._raw) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with (
            explained(self.where, MISSING, LOCKED),
            self._transaction(),
            part_of_transaction(self._raw),
            _as_ours(self._raw) as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """The one that is open, or one that is begun as Python does it for a statement that writes; the caller ends it."""
        if self._raw.in_transaction:
            yield
            return
        if _commits_by_itself(self._raw):
            raise nothing_to_join(self.where)
        self._raw.execute(f"BEGIN {self._raw.isolation_level}")
        try:
            yield
        except BaseException:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            raise

    @property
    def where(self) -> str:
        """The connection, for a message."""
        with contextlib.suppress(sqlite3.Error):
            for _, name, file in sqlite3.Cursor(self._raw).execute("PRAGMA database_list"):
                if name == "main" and file:
                    return f"the connection to {file}"
        return "the connection"


class JoinedSqlite(Joined, SqliteVerbs):
    """The job verbs in a caller's transaction on a SQLite file."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._callers = CallersConnection(raw)
        super().__init__(self._callers)

    def secret(self) -> str:
        """That of the database; empty where it has none, for none is made in a caller's transaction."""
        return str(self._value("get_meta", name="secret") or "")

    def __str__(self) -> str:
        return self._callers.where


class _Plain:
    """A connection whose rows are plain tuples, whatever its owner has chosen."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        return sqlite3.Cursor(self._raw).execute(statement, values)

    def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
        return sqlite3.Cursor(self._raw).executemany(statement, values)


@contextlib.contextmanager
def _as_ours(raw: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """With rows and texts as the verbs expect them; they use nothing else of a connection."""
    texts, raw.text_factory = raw.text_factory, str
    try:
        yield cast("sqlite3.Connection", _Plain(raw))
    finally:
        raw.text_factory = texts


def _commits_by_itself(raw: sqlite3.Connection) -> bool:
    # `autocommit` came with Python 3.12; isolation_level counts unless it is True or False.
    return raw.isolation_level is None or getattr(raw, "autocommit", None) is True
