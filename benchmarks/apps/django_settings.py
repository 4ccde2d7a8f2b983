"""The settings under which django-tasks-db is measured: Django's own advice for SQLite in production."""

from benchmarks.apps import place

SECRET_KEY = "nothing here is signed"
USE_TZ = True
INSTALLED_APPS = ["django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": place.folder() / "django.sqlite3",
        # Else the worker opens a new connection for each job.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": place.BUSY_TIMEOUT_S,
            "init_command": f"PRAGMA journal_mode = WAL; {place.pragmas()}",
        },
    }
}
