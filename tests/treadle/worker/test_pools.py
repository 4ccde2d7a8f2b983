"""Several pools in one worker: their sizes, and pools of the user's own."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, working

from treadle import State
from treadle.errors import InvalidTask, SettingsError


def make_threads() -> ThreadPoolExecutor:
    """As the address in a setting names it."""
    return ThreadPoolExecutor(2, thread_name_prefix="own")


def make_processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


not_an_executor = 7


def test_each_pool_has_its_size(tmp_path: Path) -> None:
    """From the settings, or as a worker is told."""
    app = jobs_app(tmp_path, concurrency=2, threads=3, executors={"own": make_threads}, executor_slots={"own": 4})
    with working(app, concurrency=1, pool_sizes={"coroutines": 5}) as worker:
        eventually(lambda: len(worker._places) == 5)
        sizes = {name: place.slots for name, place in worker._places.items()}
    assert sizes == {"processes": 1, "threads": 3, "coroutines": 5, "inline": 1, "own": 4}


def test_a_worker_without_a_pool_leaves_its_jobs_alone(tmp_path: Path) -> None:
    """And starts nothing for it: a worker for threads has no child."""
    app = jobs_app(tmp_path)
    other = app.send_function(apps.string_length, "abc")
    with working(app, pool_sizes={"processes": 0}) as worker:
        assert app.send_function(apps.thread_name).result(PATIENCE_S)
        assert "processes" not in worker._places
    assert other.refresh().state is State.READY


@pytest.mark.parametrize(
    "executor", [make_threads(), make_threads, f"{__name__}:make_threads"], ids=lambda e: str(type(e))
)
def test_a_task_runs_in_an_executor_of_the_settings(tmp_path: Path, executor: Any) -> None:
    """Given as it is, as what makes it, or as an address; threads may report."""
    app = jobs_app(tmp_path, executors={"own": executor})
    with working(app):
        pid, thread = app.send_function(apps.own_pid).result(PATIENCE_S)
    assert (pid, thread.startswith("own")) == (os.getpid(), True)


def test_a_job_in_a_thread_of_an_executor_reports(tmp_path: Path, gate: Gate) -> None:
    """As in a thread of ours."""
    app = jobs_app(tmp_path, executors={"own": make_threads})
    with working(app):
        job = app.send_function(apps.own_report, str(gate.path))
        eventually(lambda: [message.body for message in job.messages] == ["begun"])
        gate.open()
        assert job.result(PATIENCE_S) == "open"


def test_a_process_that_dies_in_an_executor_is_a_crash(tmp_path: Path) -> None:
    """The job runs again, in an executor made anew."""
    app = jobs_app(tmp_path, executors={"own": make_processes})
    with working(app):
        job = app.send_function(apps.own_crash_until, str(tmp_path / "runs"), 2)
        assert job.result(2 * PATIENCE_S) == 2
    assert [str(attempt.outcome) for attempt in job.attempts] == ["crashed", "succeeded"]


def test_a_pool_that_nobody_named_is_refused_as_the_job_is_sent(tmp_path: Path) -> None:
    """With the near one, and those there are."""
    app = jobs_app(tmp_path, executors={"owl": make_threads})
    with pytest.raises(
        InvalidTask, match=r"unknown pool 'own', did you mean 'owl'\?; the setting 'executors' lists owl"
    ):
        app.send_function(apps.own_pid)
    with pytest.raises(InvalidTask, match="lists none"):
        jobs_app(tmp_path).send_function(apps.own_pid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executors": {"threads": make_threads}}, "'threads' is a pool of every worker"),
        ({"executor_slots": {"own": 2}}, "executor_slots: unknown name 'own'"),
        ({"executor_slots": {"own": 0}, "executors": {"own": make_threads}}, "executor_slots"),
    ],
)
def test_wrong_settings_are_refused_at_start(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """With the name."""
    with pytest.raises(SettingsError, match=message):
        jobs_app(tmp_path, **options)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"thread": 2}, "unknown pool 'thread', did you mean 'threads'"),
        ({"threads": -1}, "'threads' cannot run -1 jobs"),
        ({"inline": 2}, "'inline' cannot run 2 jobs"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    """Before the worker starts."""
    with pytest.raises(SettingsError, match=message):
        jobs_app(tmp_path).worker(pool_sizes=sizes)
