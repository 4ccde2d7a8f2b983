"""The application of `apps.faults` on the store of a test, and a worker of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.end_to_end.apps import faults
from tests.end_to_end.server import Program, program

from treadle.app import Treadle

TARGET = "tests.end_to_end.apps.faults:app"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    """The sender of this test, in its own process."""
    app = Treadle(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", registry=faults.app.registry, app=TARGET)
    yield app
    app.close()


@pytest.fixture
def worker(tmp_path: Path) -> Callable[..., AbstractContextManager[Program]]:
    """`treadle worker run`, as long as the block lasts."""
    return lambda **environment: program("-m", "treadle.cli", "worker", "run", TARGET, folder=tmp_path, **environment)
