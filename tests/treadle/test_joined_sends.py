"""A send with `connection=…` is part of the caller's transaction, on both stores."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from tests import apps
from tests.helpers import PATIENCE_S, eventually, jobs_app, working

from treadle import CannotJoin, InvalidTask, JobNotFound, State, StoreError, Treadle, WouldDeadlock
from treadle.errors import InvalidSchedule, SchemaMissing
from treadle.task import Registry, Task


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the jobs and the caller's rows are."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


@pytest.fixture
def app(url: str, tmp_path: Path) -> Iterator[Treadle]:
    app = jobs_app(tmp_path, database_url=url)
    assert app.store.counts() == {}
    yield app
    app.close()


@pytest.fixture
def engine(app: Treadle, url: str) -> Engine:
    """The caller's database, with a table of his own."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE own (name TEXT)"))
    return engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A transaction of the caller's, in which there is a row."""
    with Session(engine) as session:
        session.execute(text("INSERT INTO own VALUES ('a')"))
        yield session


def owned(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM own")).scalar_one())


def nothing_sent(app: Treadle) -> bool:
    return app.store.counts() == {}


def test_a_job_and_a_row_are_committed_together(app: Treadle, engine: Engine, session: Session) -> None:
    """The job runs, on a worker that has waited, after the commit and not before."""
    with working(app):
        job = app.send_function(apps.string_length.options(connection=session), "abc")
        assert nothing_sent(app)
        session.commit()
        assert job.result(PATIENCE_S) == 3
    assert owned(engine) == 1


def test_a_job_and_a_row_are_rolled_back_together(app: Treadle, engine: Engine, session: Session) -> None:
    """The handle finds nothing then."""
    job = app.send_function(apps.string_length.options(connection=session.connection()), "abc")
    session.rollback()
    assert nothing_sent(app)
    assert owned(engine) == 0
    with pytest.raises(JobNotFound, match="its transaction rolled back"):
        job.wait()


def test_the_end_of_a_job_in_an_open_transaction_cannot_be_waited_for(app: Treadle, session: Session) -> None:
    """No worker can see it; a newer transaction on the connection is no hindrance, once it can."""
    job = app.send_function(apps.string_length.options(connection=session), "abc")
    with pytest.raises(WouldDeadlock, match="sent in a transaction that is still open"):
        job.result()
    with pytest.raises(WouldDeadlock):
        asyncio.run(job.aresult())
    session.commit()
    session.execute(text("SELECT count(*) FROM own"))
    with pytest.raises(TimeoutError):
        job.result(timeout_s=0.01)


def test_many_calls_and_maps_join_too(app: Treadle, session: Session) -> None:
    """With a whole and its parts."""
    upper = apps.upper.options(connection=session)
    app.send_many([upper.bind("a"), upper.bind("b")])
    whole = app.send_map(upper, ["c", "d"], reduce=apps.join_words, parts=2)
    assert nothing_sent(app)
    session.commit()
    with working(app):
        assert whole.result(PATIENCE_S) == "C D"
        eventually(lambda: app.store.counts() == {("default", State.SUCCEEDED): 5})


def test_what_is_sent_together_has_one_connection(app: Treadle, session: Session) -> None:
    """One transaction could not be part of two."""
    calls = [apps.upper.options(connection=session).bind("a"), apps.upper.bind("b")]
    with pytest.raises(InvalidTask, match="give each task of it the same connection"):
        app.send_many(calls)
    with pytest.raises(InvalidTask, match="the same connection"):
        app.send_map(apps.upper, ["a"], reduce=apps.join_words.options(connection=session))


def test_a_send_that_fails_leaves_the_transaction_as_it_was(app: Treadle, engine: Engine, session: Session) -> None:
    """The caller may go on and commit."""
    session.execute(text("ALTER TABLE treadle_job RENAME TO treadle_job_hidden"))
    with pytest.raises(StoreError):
        app.send_function(apps.upper.options(connection=session), "a")
    session.execute(text("ALTER TABLE treadle_job_hidden RENAME TO treadle_job"))
    session.commit()
    assert nothing_sent(app)
    assert owned(engine) == 1


def test_a_coroutine_sends_in_its_own_thread(app: Treadle, url: str, session: Session) -> None:
    """A connection belongs to the thread that uses it."""
    upper = apps.upper.options(connection=session)

    async def send() -> None:
        await app.asend_function(upper, "a")
        await app.asend_many([upper.bind("b")])
        await app.asend_map(upper, ["c"], parts=1)

    asyncio.run(send())
    assert nothing_sent(app)
    session.commit()
    assert sum(app.store.counts().values()) == 4


def test_a_connection_to_another_store_is_refused(app: Treadle, session: Session, tmp_path: Path) -> None:
    """Both are named, and nothing is sent."""
    other = jobs_app(tmp_path, database_url=f"sqlite:///{tmp_path / 'other.sqlite3'}")
    with pytest.raises(CannotJoin, match=r"leads to another database than that of the jobs, .*other.sqlite3: give"):
        other.send_function(apps.upper.options(connection=session), "a")
    session.commit()
    assert nothing_sent(app)
    assert nothing_sent(other)


def test_a_database_without_tables_is_refused_at_once(tmp_path: Path) -> None:
    """Although the caller holds its lock, and the store was never opened."""
    app = jobs_app(tmp_path)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        connection.execute("CREATE TABLE own (name TEXT)")
        connection.execute("INSERT INTO own VALUES ('a')")
        with pytest.raises(SchemaMissing, match=r"jobs.sqlite3 has no tables of Treadle: .*treadle migrate"):
            app.send_function(apps.upper.options(connection=connection), "a")
        with pytest.raises(SchemaMissing, match=r"jobs.sqlite3 has no tables of Treadle: .*treadle migrate"):
            app.send_map(apps.upper.options(connection=connection), ["a"])


def test_the_store_is_opened_inside_the_callers_transaction(tmp_path: Path) -> None:
    """By the first send of a process, once somebody has made the tables."""
    jobs_app(tmp_path).store.close()
    app = jobs_app(tmp_path)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        app.send_function(apps.upper.options(connection=connection), "a")
        connection.commit()
    assert sum(app.store.counts().values()) == 1


def test_jobs_in_memory_join_nothing() -> None:
    """The message names the setting."""
    app = Treadle("memory://", registry=apps.app.registry, app="tests.apps:app")
    with pytest.raises(CannotJoin, match="kept in memory here: set database_url"):
        app.send_function(apps.upper.options(connection=sqlite3.connect(":memory:")), "a")


def test_a_connection_is_for_one_send() -> None:
    """At decoration it is an error; the task itself stays without."""
    registry = Registry()
    with pytest.raises(InvalidTask, match=r"connection belongs to one send: give it with task.options\(connection=…\)"):
        registry.task(connection=object())(apps.upper.function)
    joined: Task[Any, Any] = apps.upper.options(connection=object())
    assert joined.settings.connection is not None
    assert apps.upper.settings.connection is None


def test_in_immediate_mode_the_job_runs_inside_the_transaction(tmp_path: Path) -> None:
    """As everything else of such a test, and is gone with it."""
    app = jobs_app(tmp_path, mode="immediate")
    app.store.counts()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        job = app.send_function(apps.string_length.options(connection=connection), "abc")
        assert (job.state, job.result()) == (State.SUCCEEDED, 3)
        connection.rollback()
    assert nothing_sent(app)


def test_a_schedule_joins_no_transaction(app: Treadle, session: Session) -> None:
    """A worker sends it, long after this one has ended."""
    with pytest.raises(InvalidSchedule, match="a worker sends it, which has no part in a connection of yours"):
        app.schedule("0 3 * * *", apps.string_length.options(connection=session).bind("abc"))
