"""What a job leaves behind on the connections of its thread: as little as a request does; and what listeners may ask."""

import asyncio
from contextlib import contextmanager

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_worker import run_pending, send_function
from django_worker.contract import task_finished, task_started
from django_worker.models import SendFunction
from django_worker.site import site
from tests.django_site import tasks
from treadle.states import State
from treadle.worker.execution import Work


def test_a_connection_that_is_too_old_is_closed_before_a_job(file_database):
    """As CONN_MAX_AGE says: a worker lives longer than a server leaves a connection idle."""
    send_function(tasks.counts_jobs)
    before, connection.close_at = connection.connection, 0
    (job,) = run_pending()
    assert job.result() == 1
    assert connection.connection is not before


def test_with_debug_no_queries_are_kept_from_job_to_job(file_database, settings):
    """Django remembers each for its debug pages, and only a request makes it forget."""
    settings.DEBUG = True
    for _ in range(3):
        send_function(tasks.counts_jobs)
    run_pending()
    assert len(connection.queries) == 0


def test_who_counts_queries_counts_those_of_jobs(file_database):
    """As `assertNumQueries` does around `run_pending`."""
    send_function(tasks.counts_jobs)
    with CaptureQueriesContext(connection) as seen:
        run_pending()
    assert [query["sql"].startswith("SELECT COUNT") for query in seen.captured_queries] == [True]


@pytest.mark.django_db
def test_inside_a_transaction_the_connection_stays():
    """A TestCase runs jobs in its own: to close it would be to roll it back."""
    send_function(tasks.counts_jobs)
    connection.close_at = 0
    before = connection.connection
    run_pending()
    connection.close_at = None
    assert connection.connection is before
    assert SendFunction.objects.get().state == "succeeded"


def run_in_event_loop(*handles, at_once=False):
    """Run jobs as the pool of coroutines does; gives what they returned."""

    claimed = [msgspec.structs.replace(handle.row, state=State.RUNNING, attempt=1) for handle in handles]

    async def run():
        if at_once:
            return await asyncio.gather(*(site().runner.arun(Work(job)) for job in claimed))
        return [await site().runner.arun(Work(job)) for job in claimed]

    return [outcome.result for outcome in asyncio.run(run())]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_connection_that_a_coroutine_has_lost_is_replaced(file_database, at_once):
    """Else no async task could ask the database again until the worker is started anew."""
    lost = send_function(tasks.loses_its_connection)
    jobs = [send_function(tasks.counts_jobs_in_a_coroutine) for _ in range(2)]
    run_in_event_loop(lost)
    assert run_in_event_loop(*jobs, at_once=at_once) == ["3", "3"]


def test_a_connection_is_closed_after_a_coroutine_too(file_database):
    """As CONN_MAX_AGE says, in the one thread in which all coroutines ask."""

    async def that_connection():
        return await sync_to_async(lambda: connection.connection)()

    assert run_in_event_loop(send_function(tasks.counts_jobs_in_a_coroutine)) == ["1"]
    assert asyncio.run(that_connection()) is None


@contextmanager
def listening(listen):
    for signal in (task_started, task_finished):
        signal.connect(listen)
    yield
    for signal in (task_started, task_finished):
        signal.disconnect(listen)


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_who_hears_of_an_async_task_may_ask_the_database(file_database, is_coroutine):
    """Coroutines are awaited, and others called in a thread: in the event loop itself neither could be called."""
    seen = []

    def look(task_result, **told):
        seen.append((task_result.status.name, SendFunction.objects.filter(pk=task_result.id).count()))

    async def look_from_a_coroutine(**told):
        await sync_to_async(look)(**told)

    with listening(look_from_a_coroutine if is_coroutine else look):
        assert run_in_event_loop(send_function(tasks.doubles, 2)) == ["4"]
    assert seen == [("RUNNING", 1), ("SUCCESSFUL", 1)]


@pytest.mark.parametrize("is_heard", [False, True])
def test_the_error_of_an_async_task_is_in_the_log_of_the_framework(file_database, caplog, is_heard):
    """With its traceback, also where those that listen are called in another thread."""

    async def listen(**told):
        assert told["task_result"]

    if is_heard:
        task_finished.connect(listen)
    run_in_event_loop(send_function(tasks.fails_in_a_coroutine))
    task_finished.disconnect(listen)
    (told,) = [record for record in caplog.records if record.name.endswith("tasks") and record.levelname == "ERROR"]
    assert told.exc_info[0] is ValueError
