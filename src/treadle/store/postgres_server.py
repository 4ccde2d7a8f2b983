"""One PostgreSQL database: its connections, its transactions, and the errors it can give.

Outside of `transaction` each statement is a transaction of its own, so a verb of one statement takes one
trip to the server. Nothing is kept in a session: no prepared statement, no setting, no lock but a transaction's. So
PgBouncer may stand between, in its transaction mode, where nobody listens.

What was written is told by NOTIFY, which reaches those who listen when the transaction commits. Commits
with a NOTIFY wait for each other in the whole server, so a process tells 50 times a second at most. That is
enough: who was told looks again 20 ms later, and then ever more seldom (see `postgres_wakeup`).

A forked process forgets the connections of its parent without closing them: to close one would end the
session of the parent.
"""

import contextlib
import math
import os
import select
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from weakref import WeakSet

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from treadle.clock import Clock, SystemClock
from treadle.errors import StoreError
from treadle.store.postgres_address import Address, shown
from treadle.store.postgres_connection import ANSWER_TIMEOUT_S, ImpatientConnection
from treadle.store.postgres_errors import NOT_REACHED, explained

Row = tuple[Any, ...]
Connection = psycopg.Connection[Any]

CONNECT_TIMEOUT_S = 10
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""A connection whose other side has vanished is noticed after a minute."""
MAX_IDLE = 10
"""Connections that are kept for the next use; what more are needed at once are closed after it."""
SHORTEST_IDLE_S = 1.0
"""A transaction may do nothing for so long, however short the time for an answer is: between two statements a process may
have to wait for a core."""
NOTIFY_EVERY_S = 0.02
"""How often a process tells of its commits at most: no longer than the first pause of who was told."""


class Session:
    """A connection as a verb uses it: runs statements, and gives their errors as ours."""

    def __init__(self, connection: Connection, where: str, missing: str = "run `treadle migrate`") -> None:
        self.connection = connection
        self._where = where
        self._missing = missing

    def run(self, statement: str, /, **values: Any) -> list[Row]:
        """The rows that a statement gives."""
        # A cursor and rows of our own kind: the owner of a connection may have chosen others.
        with explained(self._where, self._missing), psycopg.Cursor(self.connection, row_factory=tuple_row) as cursor:
            cursor.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def copy(self, statement: str, rows: Iterable[Row]) -> None:
        """Give these rows to a COPY … FROM STDIN."""
        with (
            explained(self._where, self._missing),
            psycopg.Cursor(self.connection) as cursor,
            cursor.copy(statement.encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    @property
    def is_in_transaction(self) -> bool:
        status = self.connection.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction that somebody else ends: what fails here leaves nothing of itself in it."""
        self.run("SAVEPOINT treadle")
        try:
            yield
        except BaseException:
            if self.is_in_transaction:
                self.run("ROLLBACK TO SAVEPOINT treadle; RELEASE SAVEPOINT treadle")
            raise
        self.run("RELEASE SAVEPOINT treadle")

    @property
    def _not_for_ever(self) -> str:
        """Has the server end a transaction that we have given up: it would hold its locks as long as a proxy hangs."""
        if not isinstance(self.connection, ImpatientConnection) or math.isinf(self.connection.answer_timeout_s):
            return ""
        limit_ms = math.ceil(max(self.connection.answer_timeout_s, SHORTEST_IDLE_S) * 1000)
        return f"; SET LOCAL idle_in_transaction_session_timeout = {limit_ms}"

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """A transaction, rolled back on error; else whoever asked for it commits."""
        # Said each time: the database's own defaults may be others.
        self.run(f"BEGIN ISOLATION LEVEL READ COMMITTED{self._not_for_ever}")
        pid = os.getpid()
        try:
            yield
        except BaseException:
            if pid == os.getpid():
                # Where the connection is lost the server rolls back by itself.
                with contextlib.suppress(StoreError):
                    self.run("ROLLBACK")
            raise


class Connections(Protocol):
    """Where the statements of a store run: connections of our own, or a framework's."""

    def run(self, statement: str, /, **values: Any) -> list[Row]:
        """Run one statement: in the transaction that is open, else as one of its own."""
        ...

    def send(self, quiet: str, telling: str, /, **values: Any) -> list[Row]:
        """The same for a statement in two forms, one of which tells who waits."""
        ...

    def transaction(self) -> contextlib.AbstractContextManager[Session]:
        """A transaction, or a part of the one that is open: kept as a whole, or not at all."""
        ...

    def joined(self) -> contextlib.AbstractContextManager[Session]:
        """A transaction, or the one that is open, without a savepoint: what fails here may fail all of it."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[Session]:
        """The same as `transaction`, and who waits is told when it commits."""
        ...


class Teller:
    """Says when to NOTIFY."""

    def __init__(self, clock: Clock, *, is_on: bool) -> None:
        self._clock = clock
        self.is_on = is_on
        self._last_s = float("-inf")

    def may_tell(self) -> bool:
        """Whether a commit that comes now is told; the next ones are not, for a moment."""
        now_s = self._clock.monotonic_s()
        if not self.is_on or now_s - self._last_s < NOTIFY_EVERY_S:
            return False
        self._last_s = now_s
        return True


class _Transaction:
    """The transaction of a thread."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.has_news = False


class PostgresServer:
    """The connections of this process to one database, opened when needed and kept for the next use."""

    def __init__(
        self,
        address: Address,
        *,
        notify: bool = True,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        missing: str = "run `treadle migrate`",
        clock: Clock | None = None,
    ) -> None:
        """`notify`: tell who listens; `missing`: what to do where the tables are missing, for the message.

        A statement that has no answer after `answer_timeout_s` raises StoreUnavailable.
        """
        self._address = address
        self._answer_timeout_s = answer_timeout_s
        self.where = shown(address)
        self.missing = missing
        self.teller = Teller(clock or SystemClock(), is_on=notify)
        self._forget_connections()
        _open_servers.add(self)

    def _forget_connections(self) -> None:
        self._idle: list[Connection] = []
        self._of_thread = threading.local()

    # The verbs of Connections

    def run(self, statement: str, /, **values: Any) -> list[Row]:
        if self._open_transaction is not None:
            with self.transaction() as session:
                return session.run(statement, **values)
        with self._session() as session:
            return session.run(statement, **values)

    def send(self, quiet: str, telling: str, /, **values: Any) -> list[Row]:
        if self._open_transaction is not None:
            with self.writing() as session:
                return session.run(quiet, **values)
        with self._session() as session:
            return session.run(telling if self.teller.may_tell() else quiet, **values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        if self._open_transaction is not None:
            session = self._open_transaction.session
            with session.savepoint():
                yield session
            return
        of_thread = self._of_thread
        with self._session() as session, session.begun():
            of_thread.transaction = transaction = _Transaction(session)
            try:
                yield session
            finally:
                of_thread.transaction = None
            # Another one means that this is a forked process: the transaction is its parent's.
            if of_thread is self._of_thread:
                self._commit(transaction)

    @contextlib.contextmanager
    def joined(self) -> Iterator[Session]:
        if self._open_transaction is not None:
            yield self._open_transaction.session
            return
        with self.transaction() as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        with self.transaction() as session:
            yield session
            if self._open_transaction is not None:
                self._open_transaction.has_news = True

    def _commit(self, transaction: _Transaction) -> None:
        if transaction.session.connection.info.transaction_status is TransactionStatus.INERROR:
            # The server would answer COMMIT with a rollback, and no error.
            raise StoreError(f"{self.where}: a statement of this transaction has failed, so nothing of it was kept")
        tells = transaction.has_news and self.teller.may_tell()
        transaction.session.run("NOTIFY treadle; COMMIT" if tells else "COMMIT")

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread is inside `transaction`."""
        return self._open_transaction is not None

    @property
    def _open_transaction(self) -> _Transaction | None:
        return getattr(self._of_thread, "transaction", None)

    # Connections

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        idle = self._idle
        connection = self._take()
        try:
            yield Session(connection, self.where, self.missing)
        finally:
            # A forked process has another list: this connection is its parent's.
            if idle is self._idle:
                self._give_back(connection)

    def _take(self) -> Connection:
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if _is_quiet(connection):
                    return connection
                connection.close()
        return self.connect()

    def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def connect(self) -> ImpatientConnection:
        """A new connection, which the caller closes. Raises StoreUnavailable."""
        with explained(self.where, self.missing, NOT_REACHED):
            # The address comes last: what a user has chosen stands.
            chosen = {
                "connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVE, "application_name": "treadle",
                "client_encoding": "UTF8", **self._address,
            }  # fmt: skip
            connection = ImpatientConnection.connect(**chosen, autocommit=True, prepare_threshold=None)
        connection.answer_timeout_s = self._answer_timeout_s
        return connection

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


def _is_quiet(connection: Connection) -> bool:
    """Whether an idle connection can be used: a server that has ended the session has said so."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


_open_servers: "WeakSet[PostgresServer]" = WeakSet()
_left_alone: list[Any] = []


def _forget_after_fork() -> None:
    for server in _open_servers:
        _left_alone.append((server._idle, server._of_thread))
        server._forget_connections()


os.register_at_fork(after_in_child=_forget_after_fork)
