"""A database in a file, for what a database in memory cannot show."""

import pytest
from django.core.management import call_command
from django.db import connections


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
