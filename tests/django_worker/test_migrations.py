"""The tables are made by a migration, and stay as the core made them."""

import pytest
from django.core.management import call_command
from django.db import connection

from treadle.store import migrate


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["django.db.models.AutoField", "django.db.models.BigAutoField"])
def test_no_phantom_migration_whatever_the_default_auto_field(settings, field):
    """makemigrations finds nothing to do under either DEFAULT_AUTO_FIELD."""
    settings.DEFAULT_AUTO_FIELD = field
    call_command("makemigrations", "django_worker", check=True, dry_run=True, verbosity=0)


def test_the_tables_are_those_of_the_core(file_database):
    """Every statement of the core's migration is in the schema, CHECKs and indexes included."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name LIKE 'treadle_%' AND sql IS NOT NULL")
        made = {" ".join(row[0].split()) for row in cursor.fetchall()}
    wanted = {" ".join(s.split()) for m in migrate.migrations("sqlite") for s in m.statements}
    assert made == wanted


def test_the_migration_can_be_taken_back(file_database):
    """Migrating to zero removes every table, and forward makes them again."""
    call_command("migrate", "django_worker", "zero", verbosity=0)
    assert not [name for name in connection.introspection.table_names() if name.startswith("treadle_")]
    call_command("migrate", "django_worker", verbosity=0)
    assert "treadle_job" in connection.introspection.table_names()


def test_without_the_tables_the_error_names_migrate(file_database):
    """A send before `migrate` says what to run."""
    from django_worker import send_function
    from tests.django_site import tasks
    from treadle.errors import SchemaMissing

    call_command("migrate", "django_worker", "zero", verbosity=0)
    with pytest.raises(SchemaMissing, match=r"manage.py migrate"):
        send_function(tasks.string_length, "x")
