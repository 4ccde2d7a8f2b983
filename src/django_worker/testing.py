"""Fixtures for pytest, beside pytest-django: `pytest_plugins = ["django_worker.testing"]` in your conftest.py.

Each gives what has `sent(task)` and `run_pending()`, and asks for the database:

    def test_a_new_user_is_welcomed(client, worker_collect):
        client.post("/users", {"name": "Ada"})
        assert [call.args for call in worker_collect.sent(welcome)] == [("Ada",)]
        worker_collect.run_pending()

They are no plugin that pytest loads by itself: nothing is there that you did not ask for.
"""

from collections.abc import Iterator

import pytest

from django_worker.site import DjangoTreadle
from django_worker.test import in_mode
from treadle.settings import Mode


@pytest.fixture
def worker_collect(db: None) -> Iterator[DjangoTreadle]:
    """Keeps what is sent, where `run_pending()` runs it: for a test that looks at what was sent."""
    with in_mode(Mode.COLLECT) as jobs:
        yield jobs


@pytest.fixture
def worker_immediate(db: None) -> Iterator[DjangoTreadle]:
    """Runs jobs inside the send: for a test that looks at the effect."""
    with in_mode(Mode.IMMEDIATE) as jobs:
        yield jobs


@pytest.fixture
def worker_store(transactional_db: None) -> Iterator[DjangoTreadle]:
    """Keeps jobs as in production, committed: for a test with a worker of its own, on a database in a file."""
    with in_mode(Mode.STORE) as jobs:
        yield jobs
