"""Fixtures for pytest, in each of the modes: `pytest_plugins = ["flask_worker.testing"]` in your conftest.py.

Each works on the application that your own fixture `app` gives, and gives what has `sent(task)` and `run_pending()`:

    def test_a_new_user_is_welcomed(client, worker_collect):
        client.post("/users", data={"name": "Ada"})
        assert [call.args for call in worker_collect.sent(welcome)] == [("Ada",)]
        worker_collect.run_pending()

They are no plugin that pytest loads by itself: nothing is there that you did not ask for.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_worker.context import treadle_of
from treadle.app import Treadle
from treadle.settings import Mode
from treadle.testing.modes import in_mode


@pytest.fixture
def worker_collect(app: Flask) -> Iterator[Treadle]:
    """Keeps what is sent in memory, where `run_pending()` runs it: for a test that looks at what was sent."""
    with in_mode(treadle_of(app), Mode.COLLECT) as jobs:
        yield jobs


@pytest.fixture
def worker_immediate(app: Flask) -> Iterator[Treadle]:
    """Runs jobs inside the send, in memory: for a test that looks at the effect."""
    with in_mode(treadle_of(app), Mode.IMMEDIATE) as jobs:
        yield jobs


@pytest.fixture
def worker_store(app: Flask, tmp_path: Path) -> Iterator[Treadle]:
    """Keeps jobs as in production, in a SQLite file of this test's: for a test with a worker of its own."""
    url = f"sqlite:///{tmp_path / 'treadle.sqlite3'}"
    with in_mode(treadle_of(app), Mode.STORE, database_url=url) as jobs:
        yield jobs
