"""The site of `web_load.py` in Django, all in one module: its settings, its task, its views and its ASGI application."""

import os
from typing import Any

import django
from django.urls import include, path

from benchmarks.apps import place

SECRET_KEY = "nothing of worth is signed"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["django_worker", *(["django_tasks"] if django.VERSION < (6, 0) else [])]
TASKS = {
    "default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": [], "OPTIONS": {"EMBEDDED": "never"}},
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": place.folder() / "django.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": place.BUSY_TIMEOUT_S},
    }
}


async def ping(request: Any) -> Any:
    """The process that answers."""
    from django.http import HttpResponse

    return HttpResponse(str(os.getpid()))


def send(request: Any) -> Any:
    from benchmarks.apps.load_django_tasks import job
    from django_worker import accepted, send_function

    return accepted(request, send_function(job, request.GET["kind"]))


urlpatterns = [path("ping", ping), path("send", send), path("worker/", include("django_worker.urls"))]
