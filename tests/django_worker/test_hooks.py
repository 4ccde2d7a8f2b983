"""Hooks around the jobs of a site: the language and the time zone of a request."""

from datetime import UTC
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone, translation

from django_worker import around, job, run_pending, send_function
from django_worker.hooks import language, time_zone, trace_context
from django_worker.site import hooks
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, python


@pytest.fixture(autouse=True)
def _hooks(monkeypatch):
    monkeypatch.setattr(hooks, "_hooks", [])
    for hook in (language, time_zone, trace_context):
        assert around(hook) is hook


@pytest.mark.django_db
def test_a_task_runs_in_the_language_and_the_time_zone_of_its_request():
    """However it was sent, and whatever is active where it runs."""
    with translation.override("zh-hans"), timezone.override("Asia/Shanghai"):
        results = [tasks.surroundings.enqueue().id, send_function(tasks.surroundings).id]
    with translation.override("de"):
        run_pending()
        assert translation.get_language() == "de"
    assert [job(id_).result() for id_ in results] == [["zh-hans", "Asia/Shanghai"]] * 2


@pytest.mark.django_db
def test_a_time_zone_is_carried_if_it_has_a_name(settings):
    """Python's own UTC has one; a zone that was read from a file has not, and is no error."""
    settings.TIME_ZONE = "Asia/Shanghai"
    with (files("tzdata.zoneinfo") / "Asia/Tokyo").open("rb") as file:
        without_name = ZoneInfo.from_file(file)
    sent = []
    for active in (UTC, without_name):
        with timezone.override(active):
            sent.append(send_function(tasks.surroundings))
    run_pending()
    assert [handle.refresh().result()[1] for handle in sent] == ["UTC", "Asia/Shanghai"]


@pytest.mark.django_db
def test_without_a_language_there_is_none_in_the_run():
    """As where translations are deactivated; and a zone without a name stays at home."""
    with translation.override(None), timezone.override(timezone.get_fixed_timezone(90)):
        handle = send_function(tasks.surroundings)
    assert handle.row.headers == {}
    run_pending()
    assert handle.refresh().result() == [translation.get_language(), timezone.get_current_timezone_name()]


SITE = """
from tests.django_site.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "hooked_shop"]
"""
APPS = """
from django.apps import AppConfig
from django_worker import around
from django_worker.hooks import language

class ShopConfig(AppConfig):
    name = "hooked_shop"

    def ready(self):
        around(language)
"""


def test_a_child_of_a_worker_has_the_hooks_of_ready(file_database, tmp_path):
    """It makes Django ready as every process does."""
    folder = tmp_path / "hooked_shop"
    folder.mkdir()
    for name, text in (("__init__", ""), ("settings", SITE), ("apps", APPS)):
        (folder / f"{name}.py").write_text(text)
    env = {
        "DJANGO_SETTINGS_MODULE": "hooked_shop.settings",
        "DATABASE_FILE": file_database,
        "PYTHONPATH": f".:{tmp_path}",
    }
    with translation.override("zh-hans"):
        handle = send_function(tasks.surroundings)
    with python("-m", "django", "worker", "run", "--concurrency", "1", env=env):
        assert handle.result(PATIENCE_S)[0] == "zh-hans"
