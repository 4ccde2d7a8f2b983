"""`manage.py worker run --autoreload`."""

import signal

import pytest

from django_worker.site import site
from tests.helpers import PATIENCE_S, eventually, python

SITE = """
from tests.django_site.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "reloaded_shop"]
"""
TASKS = """
from django_worker import task
@task
def answer():
    return {answer}
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An app with a task, in files that a test may change."""
    folder = tmp_path / "reloaded_shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "settings.py").write_text(SITE)
    (folder / "tasks.py").write_text(TASKS.format(answer=1))
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_worker_begins_anew_when_a_file_changes(file_database, shop, tmp_path):
    """With the new code, and until a signal, which ends it and what has started it."""
    from reloaded_shop.tasks import answer

    def answers():
        return site().job(answer.enqueue().id).result(PATIENCE_S)

    environment = {
        "DJANGO_SETTINGS_MODULE": "reloaded_shop.settings", "DATABASE_FILE": file_database,
        # A file of the same size that is changed within a second has the same compiled one.
        "PYTHONPATH": f".:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    with python("-m", "django", "worker", "run", "--concurrency", "1", "--autoreload", env=environment) as outer:
        assert answers() == 1
        (first,) = site().store.workers()
        (shop / "tasks.py").write_text(TASKS.format(answer=2))
        eventually(lambda: answers() == 2)
        (second,) = site().store.workers()
        assert second.pid not in (first.pid, outer.pid)
        outer.send_signal(signal.SIGTERM)
        errors = outer.communicate(timeout=PATIENCE_S)[1]
    assert (outer.returncode, site().store.workers()) == (0, []), errors
