"""Other databases than that in memory, for what it cannot show."""

import pytest
from django.core.management import call_command
from django.db import connections

from django_worker.site import _forget


@pytest.fixture
def file_database(tmp_path, django_db_blocker):
    """Django's default database in a fresh file in WAL mode; gives its path."""
    before = connections["default"]
    name = before.settings_dict["NAME"]
    # Set aside and not closed: the database in memory of the other tests would be gone.
    before.settings_dict["NAME"] = str(tmp_path / "site.sqlite3")
    connections["default"] = connections.create_connection("default")
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
        connections["default"].cursor().execute("PRAGMA journal_mode = WAL")
        yield before.settings_dict["NAME"]
        connections["default"].close()
    before.settings_dict["NAME"] = name
    connections["default"] = before


@pytest.fixture
def postgres_database(postgres_url, django_db_blocker):
    """Django's default database in PostgreSQL; gives its settings."""
    from psycopg.conninfo import conninfo_to_dict

    address = conninfo_to_dict(postgres_url)
    before, settings = connections["default"], connections.settings["default"]
    connections.settings["default"] = {
        **settings, "ENGINE": "django.db.backends.postgresql", "NAME": address["dbname"],
        "USER": address.get("user", ""), "PASSWORD": address.get("password", ""), "HOST": address.get("host", ""),
        "PORT": address.get("port", ""), "OPTIONS": {"options": address["options"]},
    }  # fmt: skip
    connections["default"] = connections.create_connection("default")
    with django_db_blocker.unblock():
        call_command("migrate", "django_worker", verbosity=0)
        yield connections.settings["default"]
        # Each has the same name, by which a site knows its database.
        _forget(setting="DATABASES")
        connections["default"].close()
    connections.settings["default"] = settings
    connections["default"] = before
