"""`manage.py worker`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_worker import send_function
from tests.django_site import tasks


@pytest.mark.django_db
def test_status_counts_the_jobs():
    """`worker status` tells who works, and how many jobs stand where."""
    send_function(tasks.string_length, "x")
    out = StringIO()
    call_command("worker", "status", stdout=out)
    assert out.getvalue().splitlines() == ["no worker is known", "queue   default  ready 1"]


@pytest.mark.django_db
def test_a_worker_on_a_database_in_memory_is_refused():
    """No other process can see such a database: the command says so and exits."""
    with pytest.raises(CommandError, match="in memory"):
        call_command("worker", "run")
