"""`manage.py worker`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_worker import send_function
from django_worker.contract import FrameworkTask
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


@pytest.mark.django_db
def test_jobs_are_listed_and_cancelled():
    """`worker jobs`, `job` and `cancel` speak of the jobs of the alias."""
    job = send_function(tasks.string_length, "x")
    assert written("jobs", "--queue", "default")[0].startswith(job.id)
    assert any("string_length" in line for line in written("job", job.id))
    assert written("cancel", job.id) == [f"{job.id} is cancelled"]
    assert written("top", "--once")[0] == "no worker is known"


@pytest.mark.django_db
def test_a_health_check_fails_without_a_worker():
    """`worker status --max-age` exits with 1."""
    with pytest.raises(SystemExit) as caught:
        written("status", "--max-age", "30")
    assert caught.value.code == 1


@pytest.mark.django_db
def test_a_job_that_is_not_there_is_one_line():
    """An error of the command, not a traceback."""
    with pytest.raises(CommandError, match="there is no job 'nobody'"):
        written("job", "nobody")


@pytest.mark.parametrize(
    ("alias", "said"), [("unknown", "'unknown' doesn't exist"), ("dummy", "DummyBackend; this needs")]
)
def test_a_wrong_alias_is_one_line(settings, alias, said):
    """One that there is not, and one of another backend."""
    dummy = {"BACKEND": FrameworkTask.__module__.removesuffix(".base") + ".backends.dummy.DummyBackend"}
    settings.TASKS = {**settings.TASKS, "dummy": dummy}
    with pytest.raises(CommandError, match=said):
        call_command("worker", "--alias", alias, "status")


def written(*words):
    out = StringIO()
    call_command("worker", *words, stdout=out)
    return out.getvalue().splitlines()
