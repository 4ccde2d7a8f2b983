"""The job in django-tasks-db."""

import os

import django
from django.core.management import call_command

from benchmarks.apps import one_by_one
from benchmarks.apps.stamps import stamp

try:
    from django.tasks import task
except ImportError:  # Before Django 6.0 it is a package of its own.
    from django_tasks import task  # type: ignore[no-redef,unused-ignore]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.apps.django_settings")
django.setup()


@task
def job() -> None:
    stamp()


def prepare() -> None:
    call_command("migrate", verbosity=0)


def send() -> object:
    return job.enqueue()


send_each = one_by_one(send)


def unfinished() -> int:
    from django_tasks_db.models import DBTaskResult  # Only once Django is set up.

    results = DBTaskResult.objects
    return int(results.count() - results.successful().count())
