"""What belongs to one alias: its children and what they are forked from."""

from django_worker.site import site
from tests.helpers import PATIENCE_S, python

FORKED = """
from django.db import connections
from django_worker.site import set_up

set_up()
connections["default"].cursor().execute("SELECT 1")
set_up()
print([connection.connection for connection in connections.all(initialized_only=True)])
"""


def test_children_are_forked_after_django_was_set_up():
    """Those of a worker and those of `pool`."""
    assert site().preload() == site().pool_preload() == ("django_worker.site:set_up()",)


def test_no_connection_is_inherited(tmp_path):
    """What the start of an application has asked its database is closed before anything is forked."""
    env = {"DJANGO_SETTINGS_MODULE": "tests.django_site.settings", "DATABASE_FILE": str(tmp_path / "site.sqlite3")}
    with python("-c", FORKED, env=env) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("[None]\n", "")
