"""What may be given as a connection."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from treadle.errors import CannotJoin
from treadle.store.joining import driver_connection, is_open, join
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle.testing.store_contract import found, make_job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(SqliteFile(tmp_path / "jobs.sqlite3"))
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def engine(store: SqliteStore) -> Engine:
    return create_engine(f"sqlite:///{store.file.path}", poolclass=NullPool)


@pytest.mark.parametrize(
    "make",
    [lambda engine: engine.connect(), Session, lambda engine: scoped_session(sessionmaker(engine))],
    ids=["connection", "session", "scoped session"],
)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_sqlalchemys_transaction_is_joined(
    store: SqliteStore, engine: Engine, make: Callable[[Engine], Any], end: str
) -> None:
    """Also one that nothing was done in yet: its commit keeps the job, its rollback does not."""
    with closing(make(engine)) as connection:
        join(connection).enqueue([make_job()])
        assert found(store) == []
        getattr(connection, end)()
    assert len(found(store)) == (end == "commit")


def test_sqlalchemys_savepoint_is_joined(store: SqliteStore, engine: Engine) -> None:
    """What is sent inside begin_nested is gone with it, and the rest stays."""
    with Session(engine) as session:
        join(session).enqueue([make_job()])
        with session.begin_nested() as nested:
            join(session).enqueue([make_job()])
            nested.rollback()
        session.commit()
    assert len(found(store)) == 1


def test_sqlalchemy_in_autocommit_has_nothing_to_join(engine: Engine) -> None:
    """Its begin() begins nothing then."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with pytest.raises(CannotJoin, match="commits each statement by itself"):
            join(connection).enqueue([make_job()])


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_sqlalchemy_with_psycopg_is_joined(postgres_url: str, end: str) -> None:
    """The driver's connection behind it is psycopg's."""
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        driver = driver_connection(connection)
        assert isinstance(driver, psycopg.Connection)
        connection.execute(text("SELECT 1"))
        assert is_open(driver)
        getattr(connection, end)()
        assert not is_open(driver)


def test_a_closed_connection_has_no_open_transaction(store: SqliteStore) -> None:
    """What was open on it is rolled back."""
    connection = sqlite3.connect(store.file.path)
    connection.execute("BEGIN")
    assert is_open(connection)
    connection.close()
    assert not is_open(connection)


def foreign(module: str, name: str) -> Any:
    """An object of a class of some library that is not installed here."""
    return type(name, (), {"__module__": module})()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (object(), r"builtins.object cannot be joined: give a sqlite3.Connection, a psycopg.Connection"),
        ("default", r"builtins.str cannot be joined"),
        (foreign("psycopg2.extensions", "connection"), r"psycopg2.* begins with postgresql\+psycopg://"),
        (foreign("asyncpg.connection", "Connection"), "since it is asynchronous"),
        (
            object.__new__(psycopg.AsyncConnection),
            r"psycopg.AsyncConnection cannot be joined, since it is asynchronous",
        ),
        (create_engine("sqlite://"), r"sqlalchemy.engine.base.Engine cannot be joined"),
        (foreign("sqlalchemy.ext.asyncio.session", "AsyncSession"), "since it is asynchronous"),
    ],
    ids=["object", "text", "psycopg2", "asyncpg", "async psycopg", "engine", "async session"],
)
def test_what_is_no_connection_of_ours_is_refused(given: Any, message: str) -> None:
    """With what may be given instead."""
    with pytest.raises(CannotJoin, match=message):
        join(given)
