"""What a zygote preloads, and when it does not fork after that."""

import logging
from pathlib import Path
from textwrap import dedent

import pytest
from tests import functions
from tests.helpers import PATIENCE_S

from treadle import AppNotFound, PoolBroken, ProcessPool


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the module `preloaded` where children find it, and gives its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def write(source: str) -> str:
        (tmp_path / "preloaded.py").write_text(dedent(source))
        return "preloaded"

    return write


def test_a_module_is_imported_once_for_all_children(module, tmp_path: Path) -> None:
    """Before the first of them is forked."""
    name = module("open('imports', 'a').write('x')")
    with ProcessPool(2, preload=[name]) as pool:
        list(pool.map(functions.double, range(10), chunksize=1))
        assert pool.submit(functions.has_imported, name).result(PATIENCE_S)
    assert (tmp_path / "imports").read_text() == "x"


def test_a_preload_that_fails_breaks_the_pool() -> None:
    """With its own error as the reason."""
    with ProcessPool(1, preload=["nowhere.at_all"]) as pool:
        error = pool.submit(functions.double, 1).exception(PATIENCE_S)
    assert isinstance(error, PoolBroken)
    assert isinstance(error.__cause__, AppNotFound)


@pytest.mark.parametrize("source", ["raise OSError('no licence')", "raise SystemExit(3)", "import nowhere_at_all"])
def test_a_preload_that_may_fail_is_left_out(module, source: str) -> None:
    """Children start without it, and whoever needs it meets the error itself."""
    name = module(source)
    with ProcessPool(1, preload=[f"{name}?"]) as pool:
        assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "starts threads"),
        ("import socket; pair = socket.socketpair()", "opens sockets (2)"),
        ("import sqlite3; db = sqlite3.connect('shop.db'); db.execute('PRAGMA user_version = 1')", "shop.db for read"),
    ],
    ids=["threads", "sockets", "database"],
)
def test_no_child_is_forked_from_what_it_must_not_share(module, caplog, source: str, reason: str) -> None:
    """They start without the preload, with a warning that names the module and what it does."""
    name = module(source)
    with caplog.at_level(logging.WARNING), ProcessPool(1, preload=[f"{name}?"]) as pool:
        assert not pool.submit(functions.has_imported, name).result(PATIENCE_S)
    assert "the import of 'preloaded'" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize(
    "source",
    ["import sqlite3; sqlite3.connect('shop.db').execute('PRAGMA user_version = 1')", "log = open('log', 'a')"],
    ids=["closed database", "log"],
)
def test_what_may_be_shared_is_no_reason(module, source: str) -> None:
    """A database that was closed, and a file that is only written to."""
    name = module(source)
    with ProcessPool(1, preload=[name]) as pool:
        assert pool.submit(functions.has_imported, name).result(PATIENCE_S)
