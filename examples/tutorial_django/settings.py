"""The settings of the tutorial's site: a small Django project with one app, `words`."""

from pathlib import Path

import django

SECRET_KEY = "replace this one"
DEBUG = True
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3"}}
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
INSTALLED_APPS = ["words"]

INSTALLED_APPS += ["django_worker"]  # and "django_tasks" on Django 5.2
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": []}}

if django.VERSION < (6, 0):
    INSTALLED_APPS += ["django_tasks"]
