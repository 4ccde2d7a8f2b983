"""The settings of the Django site that the tests use.

DATABASE_FILE gives it a file instead of memory, DATABASE_POSTGRES (as JSON) a database of PostgreSQL, TASKS_OPTIONS (as
JSON) other OPTIONS.
"""

import json
import os

import django

SECRET_KEY = "for tests only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "tests.django_site.urls"
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # The quickest.
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_worker",
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE_FILE", ":memory:"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
if "DATABASE_POSTGRES" in os.environ:
    DATABASES = {"default": json.loads(os.environ["DATABASE_POSTGRES"])}
TASKS = {
    "default": {
        "BACKEND": "django_worker.backend.WorkerBackend",
        "QUEUES": [],
        "OPTIONS": json.loads(os.environ.get("TASKS_OPTIONS", "{}")),
    }
}
