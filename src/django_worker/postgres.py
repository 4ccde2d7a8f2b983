"""The store in Django's own database, where that is PostgreSQL: on Django's connection, in whatever transaction it is in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from django_worker.connections import MISSING, usable
from treadle.errors import StoreUnavailable
from treadle.settings import Settings
from treadle.store import postgres_migrate
from treadle.store.contract import Wakeup
from treadle.store.postgres import PostgresStore, PostgresVerbs
from treadle.store.postgres_address import Address
from treadle.store.postgres_joined import ForeignConnections
from treadle.store.postgres_server import Session

NOT_OF_LIBPQ = ("context", "cursor_factory", "prepare_threshold")
"""What Django gives the driver for its own use of a connection."""


def address_of(alias: str) -> Address:
    """How Django reaches a database, for connections of our own."""
    connection: Any = connections[alias]
    params = connection.get_connection_params()
    address = {name: value for name, value in params.items() if name not in NOT_OF_LIBPQ}
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role:
        # Django sets it on each of its connections by a statement; here it comes with the connection.
        address["options"] = f"{address.get('options', '')} -c role={role}".strip()
    return address


class DjangoConnections(ForeignConnections):
    """Gives the store Django's connection of the current thread."""

    def __init__(self, alias: str, *, notify: bool) -> None:
        super().__init__(notify=notify)
        self._alias = alias
        self._where = f"the database {alias!r}"

    @contextmanager
    def session(self) -> Iterator[Session]:
        connection: Any = usable(self._alias)
        try:
            yield Session(connection.connection, self._where, MISSING)
        except StoreUnavailable:
            # So that Django looks whether it can still be used, before the next request or job.
            connection.errors_occurred = True
            raise


class DjangoPostgresStore(PostgresVerbs):
    """What an application sends and looks with: Django's connection, Django's transaction."""

    def __init__(self, alias: str, settings: Settings) -> None:
        super().__init__(DjangoConnections(alias, notify=settings.postgres_notify))
        self._alias = alias
        self._own = WorkerPostgresStore(alias, settings)

    def prepare(self) -> None:
        """Nothing: the tables are those of a migration, and a query would be a surprise here."""

    def close(self) -> None:
        self._own.close()

    def is_in_transaction(self) -> bool:
        return bool(connections[self._alias].in_atomic_block)

    def wakeup(self) -> Wakeup:
        return self._own.wakeup()

    def __str__(self) -> str:
        return f"the database {self._alias!r}"


class WorkerPostgresStore(PostgresStore):
    """What a worker uses: connections of its own to the same database."""

    def __init__(self, alias: str, settings: Settings) -> None:
        listen, notify = settings.postgres_listen, settings.postgres_notify
        super().__init__(address_of(alias), listen=listen, notify=notify, missing=MISSING)

    def prepare(self) -> None:
        """Look that the tables are there: they are Django's to make."""
        postgres_migrate.check_schema(self.server, str(self), MISSING)
