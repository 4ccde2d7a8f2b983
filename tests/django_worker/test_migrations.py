"""The tables are made by a migration, and stay as the core made them."""

import sqlite3
from contextlib import closing
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from tests.django_site import tasks
from treadle.errors import SchemaMissing
from treadle.store import migrate
from treadle.store.sqlite import apply


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["django.db.models.AutoField", "django.db.models.BigAutoField"])
def test_no_phantom_migration_whatever_the_default_auto_field(settings, field):
    """makemigrations finds nothing to do under either DEFAULT_AUTO_FIELD."""
    settings.DEFAULT_AUTO_FIELD = field
    call_command("makemigrations", "django_worker", check=True, dry_run=True, verbosity=0)


SCHEMA = "SELECT sql FROM sqlite_master WHERE name LIKE 'treadle_%' AND sql IS NOT NULL ORDER BY name"


def schema():
    with connection.cursor() as cursor:
        return cursor.execute(SCHEMA).fetchall()


def core_schema(upto):
    """What the core's own migrations make, up to a number."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as own:
        for migration in migrate.migrations("sqlite")[:upto]:
            apply(own, migration)
        return own.execute(SCHEMA).fetchall()


def test_the_tables_are_those_of_the_core(file_database):
    """The schema is what the core's migrations make, CHECKs and indexes included."""
    assert schema() == core_schema(migrate.code_version("sqlite"))


@pytest.mark.parametrize("number", range(1, migrate.code_version("sqlite")))
def test_each_migration_can_be_taken_back(file_database, number):
    """Backwards to an older schema, with the jobs that there are, and forward again."""
    sent = tasks.string_length.enqueue("x")
    call_command("migrate", "django_worker", f"{number:04}", verbosity=0)
    assert schema() == core_schema(number)
    call_command("migrate", "django_worker", verbosity=0)
    assert schema() == core_schema(migrate.code_version("sqlite"))
    assert tasks.string_length.get_result(sent.id).args == ["x"]


def test_before_a_migration_the_error_names_migrate(file_database):
    """A send on tables of an older version says what to run."""
    call_command("migrate", "django_worker", "0001", verbosity=0)
    with pytest.raises(SchemaMissing, match=r"an older Treadle .*manage.py migrate"):
        tasks.string_length.enqueue("x")


def test_the_migration_can_be_taken_back(file_database):
    """Migrating to zero removes every table, and forward makes them again."""
    call_command("migrate", "django_worker", "zero", verbosity=0)
    assert not [name for name in connection.introspection.table_names() if name.startswith("treadle_")]
    call_command("migrate", "django_worker", verbosity=0)
    assert "treadle_job" in connection.introspection.table_names()


@pytest.mark.parametrize("name", [f"{number:04}" for number in range(1, migrate.code_version("sqlite") + 1)])
def test_sqlmigrate_shows_what_would_be_done_and_does_nothing(file_database, name):
    """What it shows does the same by hand."""
    previous = int(name) - 1
    call_command("migrate", "django_worker", f"{previous:04}" if previous else "zero", verbosity=0)
    shown = call_command("sqlmigrate", "django_worker", name, stdout=StringIO())
    assert schema() == core_schema(previous)
    with closing(sqlite3.connect(file_database, isolation_level=None)) as own:
        own.executescript(shown)
    assert schema() == core_schema(int(name))


def test_without_the_tables_the_error_names_migrate(file_database):
    """A send before `migrate` says what to run."""
    from django_worker import send_function

    call_command("migrate", "django_worker", "zero", verbosity=0)
    with pytest.raises(SchemaMissing, match=r"manage.py migrate"):
        send_function(tasks.string_length, "x")
