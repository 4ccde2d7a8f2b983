"""`flush`, by which TransactionTestCase cleans up: it empties the tables of models, and PostgreSQL none without all."""

import pytest
from django.core.management import call_command
from django.db import connection

from django_worker import jobs, pause, paused, run_pending, send_function
from django_worker.models import JobAttempt, ReadOnlyError
from tests.django_site import tasks


@pytest.mark.parametrize("database", ["file_database", "postgres_database"])
def test_nothing_of_a_job_is_left(request, database):
    """Attempts, progress and messages go with jobs, and what was paused is not; then all works as before."""
    request.getfixturevalue(database)
    send_function(tasks.reports, 2)
    run_pending()
    pause("mail")
    call_command("flush", interactive=False, verbosity=0, inhibit_post_migrate=True)
    assert (jobs(), paused()) == ([], {})
    with connection.cursor() as cursor:
        for table in ("attempt", "progress", "message"):
            cursor.execute(f"SELECT count(*) FROM treadle_{table}")
            assert cursor.fetchone() == (0,), table
    assert send_function(tasks.string_length, "abc").id in [job.id for job in run_pending()]


@pytest.mark.django_db
def test_the_other_tables_are_not_for_writing():
    """As that of jobs."""
    with pytest.raises(ReadOnlyError):
        JobAttempt.objects.create(key="x")
    with pytest.raises(ReadOnlyError):
        JobAttempt(key="x").save()
