"""The settings under which django-tasks-db is measured: Django's own advice for SQLite in production, or PostgreSQL."""

from typing import Any

from benchmarks.apps import place

SECRET_KEY = "nothing here is signed"
USE_TZ = True
INSTALLED_APPS = ["django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}


def _in_sqlite() -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": place.folder() / "django.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": place.BUSY_TIMEOUT_S,
            "init_command": f"PRAGMA journal_mode = WAL; {place.pragmas()}",
        },
    }


def _in_postgres(url: str) -> dict[str, Any]:
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts["dbname"],
        "USER": parts["user"],
        "HOST": parts["host"],
    }


_postgres_url = place.postgres_url()
# CONN_MAX_AGE None: else the worker opens a new connection for each job.
DATABASES = {"default": {**(_in_postgres(_postgres_url) if _postgres_url else _in_sqlite()), "CONN_MAX_AGE": None}}
