"""`manage.py worker run` in a process of its own: what no backend of `django.tasks` had all of."""

from contextlib import contextmanager

import pytest

from django_worker.contract import TaskResultStatus
from django_worker.site import site
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, eventually, python
from treadle.errors import JobCancelled, TaskTimeout


@contextmanager
def a_worker(file, *options):
    env = {"DJANGO_SETTINGS_MODULE": "tests.django_site.settings", "DATABASE_FILE": file}
    with python("-m", "django", "worker", "run", *options, env=env) as process:
        yield process


def ended(result):
    """The result once it has; whoever waits wakes by itself."""
    site().job(result.id).wait(PATIENCE_S)
    result.refresh()
    return result


def held(tmp_path, name="started"):
    """A task that says that it runs, and then waits for a file that the test makes."""
    return tasks.hold.enqueue(str(tmp_path / name), str(tmp_path / "gate"))


def has_started(tmp_path, name="started"):
    return (tmp_path / name).exists() and (tmp_path / name).read_text().split()


def test_plain_and_async_tasks_run_and_say_on_which_worker(file_database):
    """One worker id an attempt: the same that `worker status` tells."""
    results = [tasks.string_length.enqueue("abc"), tasks.doubles.enqueue(21)]
    with a_worker(file_database, "--concurrency", "1"):
        values = [ended(result).return_value for result in results]
        (worker,) = site().store.workers()
    assert (values, [result.worker_ids for result in results]) == ([3, 42], [[worker.id]] * 2)


def test_tasks_run_at_once_in_processes_of_their_own(file_database, tmp_path):
    """As many as the worker has children."""
    results = [held(tmp_path, "one"), held(tmp_path, "two")]
    with a_worker(file_database, "--concurrency", "2"):
        pids = {pid for name in ("one", "two") for pid in eventually(lambda: has_started(tmp_path, name))}
        (tmp_path / "gate").touch()
        assert [ended(result).return_value for result in results] == ["open", "open"]
    assert len(pids) == 2


def test_the_task_of_a_worker_that_was_killed_runs_again(file_database, tmp_path):
    """On the next one, without waiting for a lease; both attempts are told."""
    result = held(tmp_path)
    with a_worker(file_database, "--concurrency", "1") as killed:
        eventually(lambda: has_started(tmp_path))
        killed.kill()
        killed.wait(PATIENCE_S)
    (tmp_path / "gate").touch()
    with a_worker(file_database, "--concurrency", "1"):
        assert ended(result).return_value == "open"
    assert (result.attempts, len(set(result.worker_ids)), len(result.errors)) == (2, 2, 1)
    assert len(has_started(tmp_path)) == 2


@pytest.mark.parametrize(("limits", "error"), [({"timeout_s": 0.2}, TaskTimeout), ({}, JobCancelled)])
def test_a_task_that_runs_is_ended(file_database, tmp_path, limits, error):
    """By its `timeout_s` or by a cancel: its process is killed, and the framework sees it fail, with one error."""
    result = tasks.hold.options(**limits).enqueue(str(tmp_path / "started"), str(tmp_path / "gate"))
    with a_worker(file_database, "--concurrency", "1"):
        if not limits:
            eventually(lambda: has_started(tmp_path))
            site().job(result.id).cancel()
        assert ended(result).status is TaskResultStatus.FAILED
    assert ([e.exception_class for e in result.errors], result.attempts) == ([error], 1)
