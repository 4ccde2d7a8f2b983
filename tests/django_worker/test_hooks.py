"""Hooks around the jobs of a site: the language and the time zone of a request."""

import pytest
from django.utils import timezone, translation

from django_worker import around, job, run_pending, send_function
from django_worker.hooks import language, time_zone, trace_context
from django_worker.site import hooks
from tests.django_site import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _hooks(monkeypatch):
    monkeypatch.setattr(hooks, "_hooks", [])
    for hook in (language, time_zone, trace_context):
        assert around(hook) is hook


def test_a_task_runs_in_the_language_and_the_time_zone_of_its_request():
    """However it was sent, and whatever is active where it runs."""
    with translation.override("zh-hans"), timezone.override("Asia/Shanghai"):
        results = [tasks.surroundings.enqueue().id, send_function(tasks.surroundings).id]
    with translation.override("de"):
        run_pending()
        assert translation.get_language() == "de"
    assert [job(id_).result() for id_ in results] == [["zh-hans", "Asia/Shanghai"]] * 2


def test_without_a_language_there_is_none_in_the_run():
    """As where translations are deactivated; and a zone without a name stays at home."""
    with translation.override(None), timezone.override(timezone.get_fixed_timezone(90)):
        handle = send_function(tasks.surroundings)
    assert handle.row.headers == {}
    run_pending()
    assert handle.refresh().result() == [translation.get_language(), timezone.get_current_timezone_name()]
