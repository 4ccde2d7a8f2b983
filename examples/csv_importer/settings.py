"""A site that imports people from CSV files, in SQLite or, where PGDATABASE is set, in PostgreSQL.

gunicorn wsgi                    # or: uvicorn asgi:application
python manage.py worker run
"""

import os
from pathlib import Path

import django

SECRET_KEY = os.environ.get("SECRET_KEY", "replace this one")
DEBUG = "SECRET_KEY" not in os.environ
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
MOST_WAITING = 1000
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
INSTALLED_APPS = ["django_worker", "importer"]
if "PGDATABASE" in os.environ:
    # Host, port, user, password: PGHOST and the like, which PostgreSQL's own library reads.
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(__file__).parent / "db.sqlite3",
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    }
TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": ["imports"]}}

if django.VERSION < (6, 0):
    INSTALLED_APPS += ["django_tasks"]
