"""The folder of a test's programs: the store in it, and what the tasks leave there."""

from contextlib import ExitStack

import pytest
from tests.end_to_end.jobs import Jobs


@pytest.fixture
def look_into():
    """Opens stores to look into; closed at the end of the test."""
    with ExitStack() as stack:

        def look(path):
            jobs = Jobs(path)
            stack.callback(jobs.close)
            return jobs

        yield look


@pytest.fixture
def jobs(look_into, tmp_path):
    """The jobs in `jobs.sqlite3` of the folder in which the programs are started."""
    return look_into(tmp_path / "jobs.sqlite3")


@pytest.fixture
def journal(tmp_path):
    """Where each run leaves a line."""
    return tmp_path / "journal"


@pytest.fixture
def gate(tmp_path):
    """What a job that holds waits for."""
    return tmp_path / "gate"
