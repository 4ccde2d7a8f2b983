"""What a job leaves behind on the connections of its thread: as little as a request does."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_worker import run_pending, send_function
from django_worker.models import SendFunction
from tests.django_site import tasks


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
