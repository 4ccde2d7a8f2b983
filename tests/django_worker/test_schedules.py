"""`django_worker.schedule`, and what workers of a site make of it."""

import sys
from collections import defaultdict
from contextlib import closing

import pytest

from django_worker import job, jobs, run_pending, schedule
from django_worker import site as site_module
from django_worker.site import site
from tests.django_site import tasks
from tests.helpers import eventually
from treadle.errors import ConfigurationError, InvalidSchedule
from treadle.schedule import Schedules

OURS = "django_worker.backend.WorkerBackend"


@pytest.fixture(autouse=True)
def schedules(monkeypatch):
    """Those of this test alone."""
    monkeypatch.setattr(site_module, "schedules", defaultdict(Schedules))
    monkeypatch.setattr(site_module, "_sites", {})
    sys.modules.pop("tests.django_site.schedules", None)


def names(alias="default"):
    return [schedule.name for schedule in site(alias).find_schedules()]


def test_workers_import_the_modules_named_schedules(settings):
    """Each installed app may have one."""
    assert names() == []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.django_site"]
    assert names() == names() == ["nightly"]


def test_a_module_that_cannot_be_imported_is_told_at_start(settings, monkeypatch):
    """As an error of the configuration, whatever it raised."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.django_site"]
    monkeypatch.delattr(tasks, "string_length")
    with pytest.raises(ConfigurationError, match="a module 'schedules' of an app cannot be imported: AttributeError"):
        site().worker()


def test_a_schedule_stays_when_the_settings_change(settings):
    """It was declared once, at import, and a test's settings make the site anew."""
    schedule("0 3 * * *", tasks.string_length.bind("abc"), name="nightly")
    settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": {}}}
    assert names() == ["nightly"]


def test_the_time_zone_is_that_of_the_site(settings):
    """Unless another one is given."""
    settings.TIME_ZONE = "Asia/Tokyo"
    assert schedule("0 3 * * *", tasks.string_length.bind("abc")).cron.timezone == "Asia/Tokyo"
    assert schedule("0 4 * * *", tasks.string_length.bind("abc"), timezone="UTC").cron.timezone == "UTC"


def test_each_alias_has_its_own(settings):
    """The alias says which workers send it."""
    settings.TASKS = {alias: {"BACKEND": OURS, "OPTIONS": {}} for alias in ("default", "reports")}
    schedule("0 3 * * *", tasks.string_length.bind("abc"), name="nightly", alias="reports")
    assert (names(), names("reports")) == ([], ["nightly"])


def test_a_task_of_a_foreign_backend_is_kept_aside(settings, monkeypatch):
    """A test's settings may name a Dummy backend: the module is imported all the same, and a check tells."""
    from django_worker.contract import FrameworkTask

    unused = []
    monkeypatch.setattr("django_worker.sending.unused_options", unused)
    dummy = FrameworkTask.__module__.removesuffix(".base") + ".backends.dummy.DummyBackend"
    settings.TASKS = {"default": {"BACKEND": dummy}}
    foreign = FrameworkTask(
        priority=0, func=tasks.not_a_task, queue_name="default", backend="default", takes_context=False, run_after=None
    )
    assert schedule("0 3 * * *", foreign) is None
    assert unused == [("tests.django_site.tasks.not_a_task", "default", ["schedule"])]


@pytest.mark.parametrize(("cron", "call"), [("0 25 * * *", tasks.gives_up), ("0 3 * * *", tasks.not_a_task)])
def test_a_wrong_schedule_is_refused_at_declaration(cron, call):
    """A time that there is not, and a function that is no task."""
    with pytest.raises(InvalidSchedule):
        schedule(cron, call)
    assert names() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("database", ["file_database", "postgres_database"])
def test_a_tick_is_sent_through_the_connection_of_the_worker(request, database):
    """It becomes a job as any other, on both databases of Django; the store knows the last one."""
    request.getfixturevalue(database)
    schedule("* * * * * *", tasks.gives_up.options(queue_name="mail"), name="often")
    with closing(site()) as treadle:
        (duty,) = treadle._scheduling()
        eventually(lambda: duty.do() or jobs())
        (row,) = treadle.store.schedules()
        sent = job(row.last_job_id)
        assert (sent.row.queue, sent.row.headers["schedule"]) == ("mail", "often")
        assert sent.id in [ran.id for ran in run_pending()]
