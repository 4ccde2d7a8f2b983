"""The migration operation that runs the core's own schema SQL."""

from typing import Any

from django.db import router
from django.db.migrations.operations.base import Operation

from treadle.store import migrate, queries, sqlite

DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres"}
"""Django's names of the databases that jobs can be kept in, and the core's."""

DROP_ALL = tuple(f"DROP TABLE treadle_{table}" for table in ("message", "progress", "attempt", "worker", "job", "meta"))


class RunCoreMigration(Operation):
    """Applies one numbered migration of Treadle's store; does nothing on a database that it cannot be kept in."""

    reduces_to_sql = True
    reversible = True

    def __init__(self, number: int, backwards: tuple[str, ...] = DROP_ALL) -> None:
        """`backwards`: the statements that take it back, which the core has no use for."""
        self.number = number
        self.backwards = backwards

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if self._is_wanted(app_label, schema_editor):
            connection = schema_editor.connection
            connection.ensure_connection()
            for migration in migrate.migrations(DIALECTS[connection.vendor]):
                if migration.number == self.number:
                    _apply(schema_editor, migration)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if self._is_wanted(app_label, schema_editor):
            for statement in self.backwards:
                schema_editor.execute(statement)

    def _is_wanted(self, app_label: str, schema_editor: Any) -> bool:
        connection = schema_editor.connection
        return connection.vendor in DIALECTS and bool(router.allow_migrate(connection.alias, app_label))

    def describe(self) -> str:
        return f"Run migration {self.number} of Treadle's store"


def _apply(schema_editor: Any, migration: migrate.Migration) -> None:
    connection = schema_editor.connection
    if schema_editor.collect_sql:
        # `sqlmigrate` shows what would be done, and does nothing.
        for statement in _statements(DIALECTS[connection.vendor], migration):
            schema_editor.execute(statement, params=None)
        return
    if connection.vendor == "sqlite":
        sqlite.apply(connection.connection, migration)
        return
    # Here, since the driver is an extra.
    from treadle.store import postgres_migrate
    from treadle.store.postgres_server import Session

    postgres_migrate.apply(Session(connection.connection, f"the database {connection.alias!r}"), migration)


def _statements(dialect: str, migration: migrate.Migration) -> tuple[str, ...]:
    """Those of a migration as they can be read, and run by hand."""
    note, number = queries.load(dialect)["note_migration"], f"'{migration.number}'"
    return (*migration.statements, note.replace("%(number)s", number).replace(":number", number))
