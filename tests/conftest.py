"""Fixtures that several packages of tests share."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests import postgres
from treadle.cores import usable_cores

pytest_plugins = ["tests.summary"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many tests run side by side with `-n auto`: one by one on a server that is given, whose sessions some look at."""
    return 0 if "TEST_POSTGRES_URL" in os.environ else usable_cores() + 1


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server; the test is skipped where there is none."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with postgres.a_server() as server:
        yield server.url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database without tables of ours, for this test alone."""
    with postgres.a_schema(postgres_server) as url:
        yield url
