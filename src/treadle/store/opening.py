"""From the address of a store in the settings to the store."""

from pathlib import Path
from typing import TYPE_CHECKING

from treadle.errors import ConfigurationError, SettingsError
from treadle.settings import Settings
from treadle.store.contract import Store
from treadle.store.masking import without_password
from treadle.store.memory import MemoryStore
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from treadle.store.postgres_address import Address

POSTGRES_KINDS = ("postgresql", "postgres")


def open_store(url: str, settings: Settings) -> Store:
    """The store at an address, not prepared yet. Raises SettingsError, or ConfigurationError where a driver is missing."""
    check_url(url)
    kind, _, path = url.partition("://")
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        # As in SQLAlchemy: three slashes for a relative path, four for an absolute one.
        return SqliteStore(SqliteFile(Path(path[1:]), synchronous=settings.sqlite_synchronous))
    address = _postgres_address(url)
    from treadle.store.postgres import PostgresStore

    return PostgresStore(
        address, listen=settings.postgres_listen, notify=settings.postgres_notify,
        answer_timeout_s=settings.postgres_answer_timeout_s,
    )  # fmt: skip


def check_url(url: str) -> None:
    """Raises SettingsError for an address of no store that we know."""
    kind, separator, path = url.partition("://")
    if separator and kind == "memory" and path in ("", "/"):
        return
    if separator and kind == "sqlite" and path.startswith("/") and len(path) > 1:
        return
    if separator and kind in POSTGRES_KINDS and path:
        _postgres_address(url)
        return
    raise SettingsError(
        f"database_url {without_password(url)!r} is not known; use 'sqlite:///relative.sqlite3', 'sqlite:////absolute.sqlite3', "
        "'postgresql://user:password@host/database' or 'memory://'"
    )


def is_memory(url: str) -> bool:
    """Whether an address is that of this process's memory."""
    return url.partition("://")[0] == "memory"


def is_postgres(url: str | None) -> bool:
    """Whether an address is that of a PostgreSQL database."""
    return url is not None and url.partition("://")[0] in POSTGRES_KINDS


def _postgres_address(url: str) -> "Address":
    # Here, since the driver is an extra that is only there where it is used.
    try:
        from treadle.store.postgres_address import parse
    except ImportError as error:
        raise ConfigurationError(
            "a store in PostgreSQL needs psycopg 3, which cannot be imported "
            f"({error}): pip install 'treadle[postgres]'"
        ) from error
    return parse(url)
