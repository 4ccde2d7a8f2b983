"""The folder of a test's programs: the store in it, and what the tasks leave there."""

from contextlib import ExitStack

import pytest
from tests.end_to_end.jobs import Jobs


@pytest.fixture
def look_into():
    """Opens stores to look into; closed at the end of the test."""
    with ExitStack() as stack:

        def look(path):
            jobs = Jobs(str(path) if "://" in str(path) else f"sqlite:///{path}")
            stack.callback(jobs.close)
            return jobs

        yield look


@pytest.fixture
def store_url(request, tmp_path, monkeypatch):
    """Where the jobs of this test are: in `jobs.sqlite3` of the folder in which the programs are started, or, with
    `on_both_stores`, in a database of PostgreSQL, which the programs find in JOBS_URL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("JOBS_URL", url)
    return url


@pytest.fixture
def jobs(look_into, store_url):
    """The jobs of this test, seen from outside."""
    return look_into(store_url)


@pytest.fixture
def journal(tmp_path):
    """Where each run leaves a line."""
    return tmp_path / "journal"


@pytest.fixture
def gate(tmp_path):
    """What a job that holds waits for."""
    return tmp_path / "gate"
