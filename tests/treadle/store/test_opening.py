"""From the address of a store in the settings to the store."""

import sys
from pathlib import Path

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, eventually, jobs_app, working

from treadle import State, Treadle
from treadle.errors import ConfigurationError, SettingsError
from treadle.settings import Embedded, Settings
from treadle.store.memory import MemoryStore
from treadle.store.opening import open_store
from treadle.store.postgres import PostgresStore
from treadle.store.sqlite import SqliteStore


def test_the_address_says_what_store_it_is(tmp_path: Path) -> None:
    """Nothing is opened by that."""
    settings = Settings()
    assert isinstance(open_store("memory://", settings), MemoryStore)
    assert isinstance(open_store(f"sqlite:///{tmp_path}/jobs.sqlite3", settings), SqliteStore)
    assert str(open_store("postgresql://me:secret@db.local/jobs", settings)) == "postgresql://db.local/jobs"
    assert isinstance(open_store("postgres://db.local/jobs", settings), PostgresStore)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://me:secret@host/jobs", r"'postgresql\+psycopg://me:\*\*\*@host/jobs' is not known"),
        (
            "postgres:me:secret@host",
            r"'postgres:me:\*\*\*@host' is not known; use .*'postgresql://user:password@host/database'",
        ),
        ("postgresql://me:secret@host:port:/jobs?no=such", r"'postgresql://me:\*\*\*@host.*cannot be read"),
    ],
)
def test_a_wrong_address_is_refused_at_start(url: str, message: str) -> None:
    """With the forms that there are."""
    with pytest.raises(SettingsError, match=message):
        Treadle(url)


def test_a_driver_that_is_missing_is_told_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.delitem(sys.modules, "treadle.store.postgres_address")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"needs psycopg 3, .*: pip install 'treadle\[postgres\]'"):
        Treadle("postgresql://localhost/jobs")


def test_the_settings_are_those_of_the_store(postgres_url: str) -> None:
    """`postgres_listen` and `postgres_notify`."""
    app = Treadle(postgres_url, postgres_listen=False, postgres_notify=False)
    store = app.store
    assert isinstance(store, PostgresStore)
    assert (store._listener, store.server.teller.is_on) == (None, False)
    app.close()


def test_a_send_joins_the_transaction_of_its_caller(tmp_path: Path, postgres_url: str) -> None:
    """What is sent inside is sent together, or not at all; nobody else sees it before."""
    app, other = jobs_app(tmp_path, database_url=postgres_url), Treadle(postgres_url)
    with pytest.raises(ZeroDivisionError), app.transaction():
        app.send_function(apps.string_length, "abc")
        1 / 0
    assert app.store.counts() == other.store.counts() == {}
    with app.transaction():
        app.send_function(apps.string_length, "abc")
        app.send_map(apps.upper, ["a", "b"], parts=2)
        assert other.store.counts() == {}
    assert other.store.counts() == {("default", State.READY): 3, ("default", State.BLOCKED): 1}
    app.close()
    other.close()


@pytest.mark.parametrize("listen", [True, False], ids=["told", "polling"])
def test_a_worker_runs_jobs(tmp_path: Path, postgres_url: str, listen: bool) -> None:
    """From the send to the result, in child processes, in a thread and as a coroutine, and as a map."""
    app = jobs_app(tmp_path, database_url=postgres_url, postgres_listen=listen)
    with working(app):
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        assert app.send_function(apps.double_soon, 4).result(PATIENCE_S) == 8
        assert app.send_function(apps.thread_name).result(PATIENCE_S).startswith("treadle-job")
        assert app.send_map(apps.upper, ["a", "b", "c"], reduce=apps.join_words).result(PATIENCE_S) == "A B C"
        counted = app.send_function(apps.count_to, 3)
        assert counted.result(PATIENCE_S) == counted.id
        assert [message.body for message in counted.messages] == [{"counted": 3}, "done"]
        job = app.send_function(apps.wait_for, str(tmp_path / "never"))
        eventually(lambda: job.refresh().state is State.RUNNING)
        job.cancel()
        assert job.wait(PATIENCE_S).state is State.CANCELLED
    app.close()


@pytest.mark.parametrize(
    ("embedded", "may"), [(Embedded.AUTO, False), (Embedded.ALWAYS, True), (Embedded.NEVER, False)]
)
def test_web_processes_embed_no_worker_by_themselves(embedded: Embedded, may: bool) -> None:
    """A store that many machines share has workers of its own; a setting can ask for one all the same."""
    assert Treadle("postgresql://localhost/jobs", embedded=embedded).may_embed() is may
