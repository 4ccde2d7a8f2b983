"""Jobs with keys, run by real workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, working

from treadle import State, Treadle
from treadle.worker import loop


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    """On each of the two stores that several workers can share."""
    url = {"database_url": request.getfixturevalue("postgres_url")} if request.param == "postgres" else {}
    app = jobs_app(tmp_path, **url)
    yield app
    app.close()


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker looks for jobs only when something tells it to."""
    monkeypatch.setattr(loop, "LOOK_EVERY_S", 3600.0)


def test_two_workers_run_one_job_of_a_key_at_a_time(app: Treadle, tmp_path: Path) -> None:
    """In whatever order and with whatever else they run."""
    keyed = [apps.be_alone.options(concurrency_key=key) for key in "ab"]
    calls = [keyed[number % 2].bind(str(tmp_path / f"room {number % 2}")) for number in range(40)]
    short = [apps.string_length.bind("abc") for _ in calls]
    with working(app, concurrency=2), working(app, concurrency=2):
        jobs = app.send_many([call for pair in zip(calls, short, strict=True) for call in pair])
        assert {job.wait(PATIENCE_S).state for job in jobs} == {State.SUCCEEDED}


@pytest.mark.usefixtures("no_looks")
def test_the_end_of_a_run_begins_the_next_one_with_its_key(app: Treadle) -> None:
    """The worker that has ended it claims the next in the same commit."""
    keyed = apps.string_length.options(concurrency_key="k")
    with working(app, concurrency=2):
        jobs = app.send_many([keyed.bind("abc") for _ in range(10)])
        assert [job.result(PATIENCE_S) for job in jobs] == [3] * 10


@pytest.mark.usefixtures("no_looks")
def test_the_end_of_a_run_is_heard_by_the_worker_of_the_next_one(app: Treadle, gate: Gate) -> None:
    """That serves another queue, and is told by the store."""
    first = apps.wait_for.options(concurrency_key="k", queue="first")
    second = apps.string_length.options(concurrency_key="k", queue="second")
    with working(app, queues=["first"]), working(app, queues=["second"]):
        blocking = app.send_function(first, str(gate.path))
        eventually(lambda: blocking.refresh().state is State.RUNNING)
        waiting = app.send_function(second, "abc")
        gate.open()
        assert waiting.result(PATIENCE_S) == 3


def test_a_job_with_a_key_is_not_passed_by_many_short_ones(app: Treadle) -> None:
    """While these wait in the pool by the dozen, so that no slot is ever free, it has its turn."""
    short = app.send_many([apps.take_a_while.bind() for _ in range(600)])
    with working(app, concurrency=1):
        short[100].wait(PATIENCE_S)
        keyed = app.send_function(apps.string_length.options(concurrency_key="k", priority=1), "abc")
        assert keyed.wait(PATIENCE_S).state is State.SUCCEEDED
        assert app.store.counts()["default", State.READY] > 0
