"""A task ends its own job, inside of atomic, together with its rows."""

import json

import pytest

from django_worker import jobs, run_pending, send_function
from django_worker.contract import TaskResultStatus, task_finished
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, python
from treadle.errors import JobFailed


@pytest.fixture
def finished():
    """What Django's signal tells of the ends of tasks."""
    told = []

    def listen(sender, task_result, **extra):
        told.append((task_result.task.name, task_result.status))

    task_finished.connect(listen)
    yield told
    task_finished.disconnect(listen)


@pytest.mark.django_db
@pytest.mark.parametrize("database", ["default", None], ids=["alias", "connection"])
def test_the_end_is_kept_with_the_rows(finished, database):
    """By an alias or a connection; Django is told as of any other."""
    handle = send_function(tasks.pays, "me", database)
    run_pending()
    assert handle.result() == "paid me"
    assert sorted(job.task.rpartition(".")[2] for job in jobs()) == ["echo", "pays"]
    assert ("pays", TaskResultStatus.SUCCESSFUL) in finished


@pytest.mark.django_db
def test_a_rolled_back_end_is_none(finished):
    """The rows are gone with it, the job has failed, and Django is told so."""
    handle = send_function(tasks.pays, "me", commits=False)
    run_pending()
    with pytest.raises(JobFailed, match="NotCommitted"):
        handle.result()
    assert [job.id for job in jobs()] == [handle.id]
    assert finished == [("pays", TaskResultStatus.FAILED)]


@pytest.mark.django_db
def test_an_error_after_the_end_was_kept_comes_too_late(finished):
    """The job has succeeded, and Django is told so."""
    handle = send_function(tasks.pays, "me", fails=True)
    run_pending()
    assert handle.result() == "paid me"
    assert ("pays", TaskResultStatus.SUCCESSFUL) in finished


@pytest.mark.django_db(transaction=True)
def test_without_atomic_there_is_nothing_to_be_kept_with():
    """Each statement would be committed by itself."""
    handle = send_function(tasks.pays_without_a_transaction)
    run_pending()
    with pytest.raises(JobFailed, match=r"CannotJoin: .* commits each statement by itself"):
        handle.result()


def test_a_worker_takes_the_end_as_it_is(postgres_database):
    """On PostgreSQL, in a child process of its own."""
    settings = {
        name: postgres_database[name] for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    }
    environment = {"DJANGO_SETTINGS_MODULE": "tests.django_site.settings", "DATABASE_POSTGRES": json.dumps(settings)}
    handle = send_function(tasks.pays, "me")
    with python("-m", "django", "worker", "run", "--concurrency", "1", env=environment):
        assert handle.result(PATIENCE_S) == "paid me"
    assert [attempt.outcome for attempt in handle.attempts] == ["succeeded"]
