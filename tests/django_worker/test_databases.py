"""Jobs in another database of Django's: by an alias of DATABASES, whatever routers say of other models."""

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from django_worker import jobs, run_pending, send_function
from django_worker.models import SendFunction
from django_worker.site import _forget, site
from tests.django_site import tasks


class JobsApart:
    """Our app in the database `jobs`, everything else not."""

    def allow_migrate(self, db, app_label, **hints):
        return (db == "jobs") == (app_label == "django_worker")


@pytest.fixture(autouse=True)
def _databases(tmp_path, settings, django_db_blocker):
    default = connections.settings["default"]
    apart = {**default, "NAME": str(tmp_path / "jobs.sqlite3"), "TEST": {**default["TEST"]}}
    connections.settings["jobs"] = apart
    options = {"DATABASE": "jobs"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    settings.DATABASE_ROUTERS = [JobsApart()]
    with django_db_blocker.unblock():
        call_command("migrate", database="jobs", verbosity=0)
        yield
        _forget(setting="DATABASES")
        connections["jobs"].close()
    del connections["jobs"], connections.settings["jobs"]


def test_a_router_may_give_our_tables_a_database_of_their_own():
    """Only they are there; jobs are sent to it, run and read."""
    tables = connections["jobs"].introspection.table_names()
    assert {name.partition("_")[0] for name in tables} == {"django", "treadle"}
    result = tasks.string_length.enqueue("abc")
    run_pending()
    assert (site().database, SendFunction.objects.get().id) == ("jobs", result.id)
    assert tasks.string_length.get_result(result.id).return_value == 3


@pytest.mark.parametrize(("using", "seen"), [("jobs", 1), ("default", 0)])
def test_a_send_goes_with_the_transaction_that_it_stands_in(using, seen):
    """As a part of one on that database, and once one on another has committed; with the rollback of either it is gone."""
    with transaction.atomic(using=using):
        send_function(tasks.string_length, "abc")
        assert len(jobs()) == seen
    assert len(jobs()) == 1
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=using):
        send_function(tasks.string_length, "abc")
        tasks.string_length.enqueue("abc")
        1 / 0
    assert len(jobs()) == 1


def test_in_transactions_on_both_a_send_is_part_of_that_where_jobs_are():
    """The other's rollback comes too late for it, as for any row there."""
    with transaction.atomic(using="jobs"), pytest.raises(ZeroDivisionError), transaction.atomic(using="default"):
        send_function(tasks.string_length, "abc")
        1 / 0
    assert len(jobs()) == 1
