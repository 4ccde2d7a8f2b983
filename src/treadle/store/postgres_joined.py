"""The store on a connection to PostgreSQL that is not ours: a caller's, or a framework's."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus

from treadle.clock import SystemClock
from treadle.errors import CannotJoin
from treadle.job import Claim, Ending
from treadle.store.joined import MISSING, Joined, nothing_to_join
from treadle.store.postgres import PostgresVerbs
from treadle.store.postgres_server import Connection, Row, Session, Teller


class ForeignConnections:
    """Gives the store connections of somebody else, in whatever transaction they are in."""

    def __init__(self, *, notify: bool) -> None:
        self._teller = Teller(SystemClock(), is_on=notify)

    def session(self) -> contextlib.AbstractContextManager[Session]:
        """The connection to use now."""
        raise NotImplementedError

    def run(self, statement: str, /, **values: Any) -> list[Row]:
        with self.session() as session:
            if not _is_in_transaction(session):
                return session.run(statement, **values)
            with session.savepoint():
                return session.run(statement, **values)

    def send(self, quiet: str, telling: str, /, **values: Any) -> list[Row]:
        with self.session() as session:
            if not _is_in_transaction(session):
                return session.run(telling if self._teller.may_tell() else quiet, **values)
            with session.savepoint():
                # Each time: nobody knows when this commits, or if. The server makes one of several.
                return session.run(telling if self._teller.is_on else quiet, **values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        with self.session() as session:
            if _is_in_transaction(session):
                # Its owner began it, or we did, further out; whoever did ends it.
                with session.savepoint():
                    yield session
                return
            with session.begun():
                yield session
                session.run("COMMIT")

    joined = transaction
    """With a savepoint all the same: the transaction is its owner's."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        with self.transaction() as session:
            yield session
            if self._teller.is_on:
                session.run("NOTIFY treadle")


class CallersConnection(ForeignConnections):
    """One connection, in the caller's transaction."""

    def __init__(self, raw: Connection, *, notify: bool) -> None:
        super().__init__(notify=notify)
        self.where = _shown(raw)
        self._session = Session(raw, self.where, MISSING)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        self._refuse_pipeline()
        if not _is_in_transaction(self._session):
            raise nothing_to_join(self.where)
        yield self._session

    def _refuse_pipeline(self) -> None:
        """Its statements give their rows later, and there is no telling now what was kept."""
        if self._session.connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise CannotJoin(f"{self.where} is in pipeline mode: send outside of `with connection.pipeline()`")


class JoinedPostgres(Joined, PostgresVerbs):
    """The job verbs in a caller's transaction on PostgreSQL."""

    def __init__(self, raw: Connection, *, notify: bool) -> None:
        self._callers = CallersConnection(raw, notify=notify)
        super().__init__(self._callers)

    def secret(self) -> str:
        """That of the database; empty where it has none, for none is made in a caller's transaction."""
        return str(self._value("get_meta", name="secret") or "")

    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        # It would not see that the other parts of a whole have ended meanwhile, and the whole would wait for ever.
        if any(ending.job.group_id is not None for ending in endings):
            self._refuse_old_snapshot()
        return super().finish(endings)

    def _refuse_old_snapshot(self) -> None:
        level = self._value("get_isolation_level")
        if level != "read committed":
            raise CannotJoin(
                f"{self} is in a transaction at the level {level!r}, in which a part of a send_map cannot be ended: "
                "use READ COMMITTED"
            )

    def __str__(self) -> str:
        return self._callers.where


def _shown(raw: Connection) -> str:
    # One that is closed tells nothing of itself.
    with contextlib.suppress(psycopg.Error):
        return f"the connection to {raw.info.dbname!r} on {raw.info.host!r}"
    return "the connection"


def _is_in_transaction(session: Session) -> bool:
    # Without autocommit the driver begins a transaction by itself, with the next statement.
    return session.is_in_transaction or not session.connection.autocommit
