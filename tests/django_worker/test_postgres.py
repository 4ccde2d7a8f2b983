"""A site whose database is PostgreSQL: the same as with SQLite, on Django's own connection."""

import json
import signal

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from django_worker import jobs, send_function
from django_worker.checks import check_alias
from django_worker.models import SendFunction
from django_worker.postgres import DjangoPostgresStore, address_of
from django_worker.site import site
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, python
from tests.postgres_schema import GOLDEN, schema
from treadle.errors import SchemaMissing, StoreError
from treadle.store import migrate
from treadle.store.contract import Store
from treadle.testing.store_contract import StoreContract, make_job


class TestDjangoPostgresStore(StoreContract):
    """The job verbs, on Django's connection; other threads would have others, which nobody closes here."""

    test_threads_that_claim_at_once_get_each_job_once = None
    test_of_all_that_move_a_schedule_at_once_one_sends = None
    test_claimers_at_once_beside_a_paused_queue_get_each_job_once = None
    test_threads_that_send_one_key_at_once_get_one_job = None
    test_threads_that_claim_at_once_run_one_of_each_key = None
    test_a_waiter_wakes_when_something_changed = None

    @pytest.fixture(autouse=True)
    def _database(self, postgres_database):
        pass

    def make_store(self) -> Store:
        return DjangoPostgresStore("default", site().settings)


class TestDjangoPostgresStoreInATransaction(TestDjangoPostgresStore):
    """The same inside of atomic, as in a TestCase."""

    @pytest.fixture(autouse=True)
    def _transaction(self, _database):
        with transaction.atomic():
            yield
            transaction.set_rollback(True)


def test_a_rolled_back_send_is_gone(postgres_database):
    """What was sent inside atomic is gone after a rollback."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.string_length.enqueue("x")
        1 / 0
    assert jobs() == []


def test_a_send_commits_with_its_transaction(postgres_database, postgres_url):
    """Who listens is told then, and not before."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("LISTEN treadle")
        with transaction.atomic():
            handle = send_function(tasks.string_length, "x")
            assert other.execute("SELECT count(*) FROM treadle_job").fetchone() == (0,)
            assert list(other.notifies(timeout=0.05)) == []
        assert len(list(other.notifies(timeout=PATIENCE_S, stop_after=1))) == 1
    assert [job.id for job in jobs()] == [handle.id]


def test_a_send_that_fails_leaves_the_transaction_usable(postgres_database):
    """PostgreSQL would refuse every later statement otherwise."""
    job = make_job()
    with transaction.atomic():
        site().store.enqueue([job])
        with pytest.raises(StoreError):
            site().store.enqueue([job])
        assert SendFunction.objects.count() == 1
    assert SendFunction.objects.get().id == job.id


def test_a_key_that_is_taken_leaves_the_transaction_usable(postgres_database):
    """The send gives the job that is there, and what follows in the transaction is kept."""
    keyed = tasks.string_length.options(unique_key="k")
    with transaction.atomic():
        first = send_function(keyed, "abc")
        assert keyed.enqueue("other").id == first.id
        assert SendFunction.objects.count() == 1
        other = send_function(tasks.string_length, "x")
    assert {job.id for job in jobs()} == {first.id, other.id}


def test_waiting_jobs_run_inside_a_test_and_its_transaction(postgres_database):
    """`run_pending` works on Django's connection."""
    with transaction.atomic():
        handle = send_function(tasks.string_length, "abc")
        assert [job.id for job in site().run_pending()] == [handle.id]
        assert handle.refresh().result() == 3
        transaction.set_rollback(True)
    assert jobs() == []


def test_the_tables_are_those_of_the_core(postgres_database):
    """The schema is what the core's migrations make."""
    assert schema(site().worker_store.server) == GOLDEN.read_text()


@pytest.mark.parametrize("number", range(1, migrate.code_version("postgres")))
def test_each_migration_can_be_taken_back(postgres_database, number):
    """Backwards to an older schema, with the jobs that there are, and forward again."""
    sent = tasks.string_length.enqueue("x")
    server = site().worker_store.server
    call_command("migrate", "django_worker", f"{number:04}", verbosity=0)
    assert schema(server) != GOLDEN.read_text()
    call_command("migrate", "django_worker", verbosity=0)
    assert schema(server) == GOLDEN.read_text()
    assert tasks.string_length.get_result(sent.id).args == ["x"]


@pytest.mark.parametrize("number", [1, 2])
def test_before_a_migration_the_error_names_migrate(postgres_database, number):
    """A send on tables that lack a column says what to run."""
    call_command("migrate", "django_worker", f"{number:04}", verbosity=0)
    with pytest.raises(SchemaMissing, match=r"an older Treadle .*manage.py migrate"):
        tasks.string_length.enqueue("x")


def test_without_the_tables_the_error_names_migrate(postgres_database):
    """A send, and a worker, before `migrate` say what to run."""
    call_command("migrate", "django_worker", "zero", verbosity=0)
    assert not [name for name in connection.introspection.table_names() if name.startswith("treadle_")]
    with pytest.raises(SchemaMissing, match=r"manage.py migrate"):
        send_function(tasks.string_length, "x")
    with pytest.raises(SchemaMissing, match=r"manage.py migrate"):
        _ = site().worker_store


def test_a_worker_runs_what_a_site_sends(postgres_database):
    """`manage.py worker run` in a process of its own, on connections of its own."""
    settings = {
        name: postgres_database[name] for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    }
    environment = {"DJANGO_SETTINGS_MODULE": "tests.django_site.settings", "DATABASE_POSTGRES": json.dumps(settings)}
    with python("-m", "django", "worker", "run", "--concurrency", "1", env=environment) as worker:
        assert send_function(tasks.string_length, "abc").result(PATIENCE_S) == 3
        worker.send_signal(signal.SIGTERM)
        errors = worker.communicate(timeout=PATIENCE_S)[1]
    assert worker.returncode == 0, errors


def test_a_lost_connection_is_looked_at_before_the_next_request(postgres_database):
    """Django closes it then, as after an error of its own."""
    with pytest.raises(StoreError):
        site().store._connections.run("SELECT pg_terminate_backend(pg_backend_pid())")
    connection.close_if_unusable_or_obsolete()
    assert jobs() == []


def test_the_check_knows_postgresql(postgres_database, monkeypatch):
    """With psycopg 3 there is nothing to say; with psycopg2 what to install."""
    assert list(check_alias("default", {})) == []
    monkeypatch.setattr("django_worker.checks.has_psycopg_3", lambda: False)
    assert [message.id for message in check_alias("default", {})] == ["django_worker.E004"]


@pytest.mark.parametrize(("command", "may"), [("runserver", True), ("worker", False)])
def test_only_the_development_server_embeds_a_worker(postgres_database, monkeypatch, command, may):
    """Elsewhere a shared database has workers of its own."""
    monkeypatch.setattr("sys.argv", ["manage.py", command])
    monkeypatch.delitem(__import__("sys").modules, "pytest")
    assert site().may_embed() is may


def test_a_worker_has_the_role_of_the_site(postgres_database, monkeypatch):
    """`assume_role` of Django, which it sets on its own connections only."""
    options = {**postgres_database["OPTIONS"], "assume_role": "app"}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert address_of("default")["options"] == f"{postgres_database['OPTIONS']['options']} -c role=app"
