"""What `manage.py check` says of our settings."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from django_worker import worker_task
from django_worker.operations import DIALECTS
from treadle.store.opening import is_memory


def check_alias(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    """The findings about one alias of `TASKS`."""
    if not apps.is_installed("django_worker"):
        yield Error(
            f"TASKS[{alias!r}] needs our app, which has the tables.",
            hint="Add 'django_worker' to INSTALLED_APPS.",
            id="django_worker.E001",
        )
    database = options.get("DATABASE", "default")
    if database not in connections.settings:
        yield Error(f"TASKS[{alias!r}]: there is no database {database!r} in DATABASES.", id="django_worker.E002")
        return
    if "DATABASE_URL" in options:
        yield from _check_own_store(alias, options)
    else:
        yield from _check_database(alias, database)


def _check_own_store(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    if is_memory(options["DATABASE_URL"]) and options.get("MODE", "store") == "store":
        yield Warning(
            f"TASKS[{alias!r}] keeps jobs in the memory of each process, where no worker sees them.",
            hint='It is for tests, together with OPTIONS["MODE"] "immediate" or "collect".',
            id="django_worker.W003",
        )


def _check_database(alias: str, database: str) -> Iterator[CheckMessage]:
    connection: Any = connections[database]
    if connection.vendor not in DIALECTS:
        yield Error(
            f"TASKS[{alias!r}]: the database {database!r} is {connection.vendor}; jobs are kept in SQLite or PostgreSQL.",
            hint='Name such a database in OPTIONS["DATABASE"], or give jobs one of their own with OPTIONS["DATABASE_URL"].',
            id="django_worker.E003",
        )
    elif connection.vendor == "postgresql" and not has_psycopg_3():
        yield Error(
            f"TASKS[{alias!r}]: the database {database!r} is reached with psycopg2.",
            hint="Install psycopg 3, which Django then uses by itself: pip install 'treadle[postgres]'.",
            id="django_worker.E004",
        )
    elif connection.vendor == "sqlite" and connection.settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE":
        yield Warning(
            f"TASKS[{alias!r}]: a transaction on {database!r} that reads first and sends then fails with 'database "
            "is locked' when a worker has written in between.",
            hint=f'Set DATABASES[{database!r}]["OPTIONS"] = {{"transaction_mode": "IMMEDIATE"}}.',
            id="django_worker.W001",
        )


def has_psycopg_3() -> bool:
    """Whether Django uses it: psycopg2 takes its place where it alone is there."""
    return find_spec("psycopg") is not None


def check_unused_options(**extra: Any) -> list[CheckMessage]:
    """Tasks with options of ours whose backend is another's."""
    return [
        Warning(
            f"{path} has the options {', '.join(options)}, which the backend of TASKS[{alias!r}] does not use.",
            id="django_worker.W002",
        )
        for path, alias, options in worker_task.unused_options
        if options
    ]
