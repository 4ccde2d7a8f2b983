"""Jobs in a database of their own, by `OPTIONS["DATABASE_URL"]`: they are kept once Django's transaction is."""

import asyncio
import json

import pytest
from django.db import connection, transaction

from django_worker import jobs, run_pending, send_function, send_map
from django_worker.checks import check_alias
from django_worker.contract import TaskResultDoesNotExist, task_enqueued
from django_worker.models import SendFunction
from django_worker.site import site
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, python
from treadle.errors import WouldDeadlock

in_transactions = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path, settings):
    """The address of a database of its own, which is in the settings."""
    is_sqlite = request.param == "sqlite"
    address = f"sqlite:///{tmp_path / 'jobs.sqlite3'}" if is_sqlite else request.getfixturevalue("postgres_url")
    _set(settings, DATABASE_URL=address)
    yield address
    site().close()


@pytest.fixture
def in_memory(settings):
    """The same in memory, for what does not depend on the kind of database."""
    _set(settings, DATABASE_URL="memory://", MODE="collect")


def _set(settings, **options):
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}


@in_transactions
def test_a_send_is_kept_with_the_commit_and_gone_with_a_rollback(url):
    """As it is where jobs are in Django's own database."""
    with transaction.atomic():
        result = tasks.string_length.enqueue("abc")
        handle = send_function(tasks.string_length, "ab")
        assert jobs() == []
    assert {job.id for job in jobs()} == {result.id, handle.id}
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.string_length.enqueue("x")
        1 / 0
    assert len(jobs()) == 2


@in_transactions
def test_without_a_transaction_it_is_kept_at_once(url):
    """A map, too, with its parts; and all of it runs."""
    result = tasks.string_length.enqueue("abc")
    total = send_map(tasks.square, range(4), reduce=tasks.total)
    assert result.id in [job.id for job in jobs()]
    run_pending()
    result.refresh()
    assert (result.return_value, total.refresh().result()) == (3, 14)


@in_transactions
def test_a_map_is_kept_with_the_commit(in_memory):
    """All of its parts."""
    with transaction.atomic():
        total = send_map(tasks.square, range(4), reduce=tasks.total)
        assert jobs() == []
    run_pending()
    assert total.refresh().result() == 14


@in_transactions
def test_what_is_rolled_back_inside_is_gone(in_memory):
    """A savepoint takes its sends with it."""
    with transaction.atomic():
        kept = send_function(tasks.string_length, "abc")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            send_function(tasks.string_length, "x")
            1 / 0
    assert [job.id for job in jobs()] == [kept.id]


@in_transactions
def test_the_framework_is_told_with_the_commit(in_memory):
    """`task_enqueued` comes once the job is kept; till then its result does not exist."""
    told = []

    def listen(task_result, **extra):
        told.append(tasks.string_length.get_result(task_result.id).id)

    task_enqueued.connect(listen)
    with transaction.atomic():
        result = tasks.string_length.enqueue("abc")
        with pytest.raises(TaskResultDoesNotExist):
            tasks.string_length.get_result(result.id)
        assert told == []
    task_enqueued.disconnect(listen)
    assert told == [result.id]


@in_transactions
def test_waiting_in_the_transaction_that_sent_it_is_refused(in_memory):
    """It would never end."""
    with transaction.atomic():
        handle = send_function(tasks.string_length, "abc")
        with pytest.raises(WouldDeadlock, match="still open"):
            handle.result()


@in_transactions
def test_a_key_that_is_taken_gives_the_job_that_has_it(in_memory):
    """In a transaction, too."""
    keyed = tasks.string_length.options(unique_key="k")
    first = send_function(keyed, "abc")
    with transaction.atomic():
        assert [send_function(keyed, "x").id, keyed.enqueue("x").id] == [first.id] * 2
    assert len(jobs()) == 1


@pytest.mark.django_db
def test_a_test_takes_its_commits_in_hand(in_memory, django_capture_on_commit_callbacks):
    """Inside the transaction of a TestCase nothing commits; `captureOnCommitCallbacks` runs what would follow."""
    with django_capture_on_commit_callbacks(execute=True):
        result = tasks.string_length.enqueue("abc")
        assert run_pending() == []
    assert [job.result() for job in run_pending()] == [3]
    assert tasks.string_length.get_result(result.id).return_value == 3


@in_transactions
def test_a_coroutine_sends_there(in_memory):
    """`aenqueue` and `aget_result`."""

    async def send():
        result = await tasks.string_length.aenqueue("abc")
        return (await tasks.string_length.aget_result(result.id)).args

    assert asyncio.run(send()) == ["abc"]


@in_transactions
def test_a_worker_process_runs_what_is_there(url, tmp_path):
    """It finds the address in the settings."""
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.django_site.settings",
        "DATABASE_FILE": str(tmp_path / "site.sqlite3"),
        "TASKS_OPTIONS": json.dumps({"DATABASE_URL": url}),
    }
    with python("-m", "django", "worker", "run", "--concurrency", "1", env=env):
        assert send_function(tasks.string_length, "abc").result(PATIENCE_S) == 3


@pytest.mark.django_db
def test_the_model_shows_none_and_the_admin_nothing(in_memory, admin_client):
    """Django reaches no database that they are kept in."""
    send_function(tasks.string_length, "abc")
    assert SendFunction.objects.count() == 0
    assert "sendfunction" not in admin_client.get("/admin/").content.decode()


@pytest.mark.django_db
def test_a_database_that_cannot_keep_jobs_needs_it(monkeypatch):
    """MySQL and Oracle: an error, which names both ways out; none with a DATABASE_URL."""
    monkeypatch.setattr(connection, "vendor", "mysql")
    (error,) = check_alias("default", {})
    assert (error.id, "DATABASE_URL" in error.hint) == ("django_worker.E003", True)
    assert list(check_alias("default", {"DATABASE_URL": "postgresql://host/jobs"})) == []


@pytest.mark.django_db
def test_a_store_in_memory_is_for_tests():
    """In production no worker would see it: a warning."""
    (warning,) = check_alias("default", {"DATABASE_URL": "memory://"})
    assert warning.id == "django_worker.W003"
    assert list(check_alias("default", {"DATABASE_URL": "memory://", "MODE": "collect"})) == []
