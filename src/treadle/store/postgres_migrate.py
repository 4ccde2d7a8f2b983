"""Making the tables in a PostgreSQL database, or checking them; any number of processes may do it at once."""

from psycopg import errors

from treadle.errors import StoreError
from treadle.store import migrate as steps
from treadle.store import queries
from treadle.store.postgres_connection import patient
from treadle.store.postgres_server import Connections, PostgresServer, Session

DIALECT = "postgres"
TRIES = 10
"""How often to look again where another process makes the first tables at the same time."""


def migrate(server: PostgresServer) -> None:
    """Bring the tables up to date. Raises SchemaTooNew where they need newer code."""
    for step in steps.migrations(DIALECT):
        if (schema_version(server) or 0) < step.number:
            _apply_once(server, step)
    check_schema(server, server.where, server.missing)


def _apply_once(server: PostgresServer, step: steps.Migration) -> None:
    """Apply a step, unless another process was faster."""
    for _ in range(TRIES):
        try:
            with server.transaction() as session, patient(session.connection):
                if _has_tables(session):
                    session.run(queries.load(DIALECT)["lock_schema"])
                    # Only now: until it had the lock, another process may have had it.
                    if (schema_version(session) or 0) >= step.number:
                        return
                apply(session, step)
            return
        except StoreError as error:
            if not isinstance(error.__cause__, errors.UniqueViolation | errors.DuplicateTable):
                raise


def apply(session: Session, step: steps.Migration) -> None:
    """Run one migration and note it, in the transaction that is open."""
    for statement in step.statements:
        session.run(statement)
    session.run(queries.load(DIALECT)["note_migration"], number=str(step.number))


def check_schema(connections: Connections, where: str, missing: str) -> None:
    """Refuse tables that this code cannot use. Raises SchemaMissing or SchemaTooNew."""
    found = schema_version(connections)
    oldest = int(_meta(connections, "min_code_version")) if found is not None else 1
    steps.check_version(DIALECT, found, oldest, where, missing)


def schema_version(connections: Connections | Session) -> int | None:
    """How far the tables were migrated, or None where there are none."""
    return int(_meta(connections, "schema_version")) if _has_tables(connections) else None


def _has_tables(connections: Connections | Session) -> bool:
    return bool(connections.run(queries.load(DIALECT)["has_tables"])[0][0])


def _meta(connections: Connections | Session, name: str) -> str:
    return str(connections.run(queries.load(DIALECT)["get_meta"], name=name)[0][0])
