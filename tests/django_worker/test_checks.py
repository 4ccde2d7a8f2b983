"""`manage.py check` names our mistakes."""

import pytest
from django.core.checks import run_checks
from django.db import connection

from django_worker import task
from tests.django_site import tasks

OURS = "django_worker.backend.WorkerBackend"


def found():
    return {message.id for message in run_checks()}


@pytest.mark.django_db
def test_a_sound_site_has_no_findings():
    """The settings that the README shows are sound."""
    assert not {id_ for id_ in found() if id_.startswith("django_worker")}


@pytest.mark.django_db
def test_a_missing_database_is_named(settings):
    """OPTIONS["DATABASE"] must be an alias of DATABASES."""
    settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": {"DATABASE": "jobs"}}}
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
