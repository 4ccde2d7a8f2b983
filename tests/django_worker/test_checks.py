"""`manage.py check` names our mistakes."""

import re

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection

from django_worker import send_function, task
from django_worker.checks import check_alias, check_backport, has_wal_race
from django_worker.site import site
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, ROOT, python
from treadle.clock import SystemClock
from treadle.errors import NetworkFileSystem
from treadle.store.contract import WorkerRow

STARTS = """
import threading
import django
from django.db import connections

django.setup()
print(threading.active_count(), sum(c.connection is not None for c in connections.all(initialized_only=True)))
"""

OURS = "django_worker.backend.WorkerBackend"


def found(**options):
    return {message.id for message in run_checks(**options)}


def with_options(settings, **options):
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}


@pytest.mark.django_db
def test_a_sound_site_has_no_findings():
    """The settings that the README shows are sound."""
    assert not {id_ for id_ in found() if id_.startswith("django_worker")}


@pytest.mark.django_db
def test_a_missing_database_is_named(settings):
    """OPTIONS["DATABASE"] must be an alias of DATABASES."""
    settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": {"DATABASE": "jobs"}}}
    assert "django_worker.E002" in found()


def test_a_missing_database_does_not_keep_modules_of_tasks_from_the_check(settings):
    """`manage.py check` imports the views, and with them tasks, before it looks at TASKS."""
    settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": {"DATABASE": "jobs"}}}
    assert task(tasks.not_a_task).name == "not_a_task"
    assert "django_worker.E002" in found()


@pytest.mark.django_db
def test_a_database_without_immediate_is_warned_of(monkeypatch):
    """Without transaction_mode IMMEDIATE a read-then-send can fail."""
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    assert "django_worker.W001" in found()


@pytest.mark.django_db
def test_the_app_must_be_installed(settings):
    """The backend needs its tables, so its app."""
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django_worker"]
    settings.ROOT_URLCONF = "tests.django_site.no_urls"
    assert "django_worker.E001" in found()


@pytest.mark.django_db
def test_options_of_ours_on_a_foreign_backend_are_kept_aside(settings, monkeypatch):
    """A test's settings may name a Dummy backend: the task is made all the same, and a check tells."""
    from django_worker.contract import FrameworkTask
    from django_worker.worker_task import WorkerTask

    monkeypatch.setattr("django_worker.worker_task.unused_options", [])
    dummy = FrameworkTask.__module__.removesuffix(".base") + ".backends.dummy.DummyBackend"
    settings.TASKS = {"default": {"BACKEND": dummy}}
    made = task(max_attempts=5)(tasks.not_a_task)
    assert isinstance(made, FrameworkTask)
    assert not isinstance(made, WorkerTask)
    assert "django_worker.W002" in found()


@pytest.mark.django_db
def test_a_router_that_keeps_our_tables_out_is_named(settings):
    """`migrate` would make none there, and each send would fail."""
    settings.DATABASE_ROUTERS = [type("Nothing", (), {"allow_migrate": lambda self, db, app, **hints: False})()]
    assert "django_worker.E006" in found()


@pytest.mark.django_db
def test_a_file_on_a_network_is_named(monkeypatch):
    """Before the first send."""

    def refuse(alias):
        raise NetworkFileSystem("/mnt is nfs")

    monkeypatch.setattr("django_worker.checks.file_of", refuse)
    assert "django_worker.E005" in found()


@pytest.mark.django_db
def test_the_backport_belongs_to_the_installed_apps(monkeypatch, settings):
    """Before Django 6.0: it neither logs nor checks otherwise."""
    monkeypatch.setattr("django.VERSION", (5, 2, 0, "final", 0))
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django_tasks"]
    assert [message.id for message in check_backport()] == ["django_worker.W004"]
    monkeypatch.setattr("django.VERSION", (6, 0, 0, "final", 0))
    assert check_backport() == []


@pytest.mark.django_db
def test_what_is_for_development_is_told_with_deploy_only(settings):
    """A mode of tests, and SQLite."""
    with_options(settings, MODE="immediate")
    assert not {"django_worker.W005", "django_worker.W006"} & found()
    assert {"django_worker.W005", "django_worker.W006"} <= found(include_deployment_checks=True)
    with_options(settings, DATABASE_URL="postgresql://host/jobs")
    assert not {"django_worker.W005", "django_worker.W006"} & found(include_deployment_checks=True)


@pytest.mark.parametrize(
    ("version", "affected"),
    [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 44, 6), False), ((3, 50, 7), False)],
)
def test_versions_of_sqlite_with_the_race_are_known(version, affected):
    """Told with `check --deploy`, as W007."""
    assert has_wal_race(version) is affected


@pytest.mark.django_db
def test_that_nobody_runs_what_waits_is_told_where_a_database_may_be_asked():
    """`check --database default`; not otherwise, nor while nothing waits."""
    assert "django_worker.W008" not in found(databases=["default"])
    send_function(tasks.string_length, "x")
    assert "django_worker.W008" not in found()
    assert "django_worker.W008" in found(databases=["default"])
    now_us = SystemClock().now_us()
    site().store.register(
        WorkerRow(
            id="w", host="elsewhere", pid=1, kind="process", started_at_us=now_us, last_seen_at_us=now_us,
            lease_until_us=now_us + 10**9,
        )
    )  # fmt: skip
    assert "django_worker.W008" not in found(databases=["default"])


def test_before_the_first_migrate_nothing_is_said_of_workers(file_database):
    """It runs the checks before it makes the tables."""
    call_command("migrate", "django_worker", "zero", verbosity=0)
    assert "django_worker.W008" not in found(databases=["default"])


@pytest.mark.django_db
def test_a_pooler_of_transactions_is_suspected(monkeypatch, settings):
    """There LISTEN hears nothing."""
    monkeypatch.setattr(connection, "vendor", "postgresql")
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    assert [message.id for message in check_alias("default", {})] == ["django_worker.W009"]
    with_options(settings, POSTGRES_LISTEN=False)
    assert list(check_alias("default", {})) == []


def test_a_start_touches_neither_a_database_nor_a_thread(tmp_path):
    """`ready()` only registers; an unknown database would fail otherwise."""
    env = {"DJANGO_SETTINGS_MODULE": "tests.django_site.settings", "DATABASE_FILE": str(tmp_path / "site.sqlite3")}
    with python("-c", STARTS, env=env) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("1 0\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_document_lists_each_check():
    """And none that there is not."""
    pattern = r"django_worker\.[EW]\d{3}"
    in_code = set(re.findall(pattern, (ROOT / "src/django_worker/checks.py").read_text()))
    assert sorted(re.findall(pattern, (ROOT / "docs/django.md").read_text())) == sorted(in_code)
