"""A Django project as `startproject` makes it, as small as it gets, with what Treadle needs."""

from pathlib import Path

import django

SECRET_KEY = "replace this one"
DEBUG = True
ROOT_URLCONF = "urls"
INSTALLED_APPS = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3"}}

INSTALLED_APPS += ["django_worker"]  # and "django_tasks" on Django 5.2
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": []}}

if django.VERSION < (6, 0):
    INSTALLED_APPS += ["django_tasks"]
