"""From what a caller gives as a connection to the job verbs on it.

What it is is told by what it looks like, so that no library is imported for it.
"""

import contextlib
import sqlite3
import sys
from typing import Any

from treadle.errors import CannotJoin
from treadle.store.joined import Joined
from treadle.store.sqlite_joined import JoinedSqlite

SUPPORTED = (
    "give a sqlite3.Connection, a psycopg.Connection (psycopg 3), a SQLAlchemy Connection or Session on one of them, "
    "or a connection of Django"
)


def join(given: Any, *, notify: bool = True) -> Joined:
    """The job verbs on this connection, in the transaction that is open on it.

    `notify`: tell who listens, where that is PostgreSQL. Raises CannotJoin for what is no connection that we know.
    """
    connection = driver_connection(given)
    if isinstance(connection, sqlite3.Connection):
        return JoinedSqlite(connection)
    # Here, since the driver is an extra.
    from treadle.store.postgres_joined import JoinedPostgres

    return JoinedPostgres(connection, notify=notify)


def driver_connection(given: Any) -> Any:
    """The driver's connection behind what a caller gives. Raises CannotJoin."""
    connection = given
    if _is_of("sqlalchemy", given):
        connection = _of_sqlalchemy(given)
    elif hasattr(given, "ensure_connection"):
        connection = _of_django(given)
    if isinstance(connection, sqlite3.Connection) or _is_psycopg(connection):
        return connection
    raise _unknown(connection)


def is_open(connection: Any) -> bool:
    """Whether a transaction is open on a driver's connection; one that was closed has none."""
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):
            return connection.in_transaction
        return False
    return connection.info.transaction_status.name in {"INTRANS", "INERROR", "ACTIVE"}


def _of_sqlalchemy(given: Any) -> Any:
    """That of a Connection, or of a Session, which begins a transaction where none is open, as for its own statements."""
    if _is_of("sqlalchemy.ext.asyncio", given) or not hasattr(given, "connection"):
        raise _unknown(given)
    connection = given.connection() if callable(given.connection) else given
    if not connection.in_transaction():
        # Else its commit() would do nothing, for it cannot know what we write.
        connection.begin()
    return connection.connection.driver_connection


def _of_django(given: Any) -> Any:
    given.ensure_connection()
    return given.connection


def _is_psycopg(connection: Any) -> bool:
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(connection, driver.Connection)


def _is_of(package: str, given: Any) -> bool:
    """Whether an object is of a class of this package, or of one that was made from it."""
    return any(f"{kind.__module__}.".startswith(f"{package}.") for kind in type(given).__mro__)


def _unknown(given: Any) -> CannotJoin:
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    return CannotJoin(f"{kind} cannot be joined{_reason(kind)}: {SUPPORTED}")


def _reason(kind: str) -> str:
    if "Async" in kind or kind.startswith(("asyncpg.", "aiosqlite.")):
        return ", since it is asynchronous"
    if kind.startswith("psycopg2."):
        return " (for psycopg 3 an address of SQLAlchemy begins with postgresql+psycopg://)"
    return ""
