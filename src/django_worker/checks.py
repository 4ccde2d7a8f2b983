"""What `manage.py check` says of our settings; docs/django.md has the list.

None asks a database, but for `check_attendance`, which runs with `check --database` only.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import django
from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, router

from django_worker import worker_task
from django_worker.connections import file_of
from django_worker.contract import task_backends
from django_worker.operations import DIALECTS
from treadle.clock import SystemClock
from treadle.errors import SchemaMissing, TreadleError
from treadle.states import State
from treadle.store.contract import Query, Store
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
        return
    yield from _check_database(alias, database)
    if not router.allow_migrate(database, "django_worker"):
        yield Error(
            f"TASKS[{alias!r}]: DATABASE_ROUTERS keep our tables out of the database {database!r}.",
            hint="Let a router's allow_migrate() be true, or None, for the app 'django_worker' there.",
            id="django_worker.E006",
        )


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
    elif connection.vendor == "postgresql":
        yield from _check_pooler(alias, database, connection)
    else:
        yield from _check_sqlite(alias, database, connection)


def _check_pooler(alias: str, database: str, connection: Any) -> Iterator[CheckMessage]:
    options = _options_of(alias)
    if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS") and options.get("POSTGRES_LISTEN", True):
        yield Warning(
            f"TASKS[{alias!r}]: the database {database!r} has DISABLE_SERVER_SIDE_CURSORS, as where PgBouncer pools "
            "transactions, and there a worker hears of no job.",
            hint='Set OPTIONS["POSTGRES_LISTEN"] = False, so that workers look for jobs, or silence this.',
            id="django_worker.W009",
        )


def _options_of(alias: str) -> dict[str, Any]:
    options: dict[str, Any] = task_backends.settings[alias].get("OPTIONS", {})
    return options


def _check_sqlite(alias: str, database: str, connection: Any) -> Iterator[CheckMessage]:
    try:
        file_of(database)
    except TreadleError as error:
        yield Error(f"TASKS[{alias!r}]: {error}", id="django_worker.E005")
    if connection.settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE":
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


def check_backport(**extra: Any) -> list[CheckMessage]:
    """Before Django 6.0 the task framework is an app of its own, whose logs and checks are missed without it."""
    if django.VERSION >= (6, 0) or apps.is_installed("django_tasks"):
        return []
    return [
        Warning(
            "The task framework is not installed as an app, so it neither logs nor checks TASKS.",
            hint="Add 'django_tasks' to INSTALLED_APPS.",
            id="django_worker.W004",
        )
    ]


def check_deployment(**extra: Any) -> list[CheckMessage]:
    """What is right while one develops; with `check --deploy` only."""
    return [message for alias in _our_aliases() for message in _check_deployment_of(alias)]


def _check_deployment_of(alias: str) -> Iterator[CheckMessage]:
    mode = str(_options_of(alias).get("MODE", "store"))
    if mode != "store":
        yield Warning(
            f"TASKS[{alias!r}] has the mode {mode!r}, which is for tests: no worker runs what is sent.",
            hint='Leave out OPTIONS["MODE"].',
            id="django_worker.W005",
        )
    if not _is_in_sqlite(alias):
        return
    yield Warning(
        f"TASKS[{alias!r}] keeps jobs in SQLite, where only processes of one host see them.",
        hint="With several hosts use PostgreSQL; with one, silence this.",
        id="django_worker.W006",
    )
    if has_wal_race(sqlite3.sqlite_version_info):
        yield Warning(
            f"SQLite {sqlite3.sqlite_version} may damage a file when a program of another kind, which does not wait for "
            "our lock, writes to it during a checkpoint.",
            hint="Use SQLite 3.51.3 or newer (or 3.44.6, or 3.50.7), or let nothing but this site write to the file.",
            id="django_worker.W007",
        )


def has_wal_race(version: tuple[int, ...]) -> bool:
    """Whether a version of SQLite has the error that 3.51.3 mended, with two older ones."""
    return (3, 7, 0) <= version < (3, 51, 3) and version not in {(3, 44, 6), (3, 50, 7)}


def _is_in_sqlite(alias: str) -> bool:
    options = _options_of(alias)
    if "DATABASE_URL" in options:
        return str(options["DATABASE_URL"]).startswith("sqlite:")
    name = options.get("DATABASE", "default")
    return name in connections.settings and connections[name].vendor == "sqlite"


def check_attendance(databases: Sequence[str] | None = None, **extra: Any) -> list[CheckMessage]:
    """Whether somebody runs the jobs that wait; with `check --database …` only, for it asks that database."""
    from django_worker.site import site

    sites = {alias: site(alias) for alias in _our_aliases()} if databases else {}
    missed = [
        alias
        for alias, treadle in sites.items()
        if treadle.database in (databases or ()) and not treadle.may_embed() and _is_deserted(treadle.store)
    ]
    return [
        Warning(
            f"TASKS[{alias!r}]: jobs are ready, and no live worker is known that would run them.",
            hint="Start one: python manage.py worker run.",
            id="django_worker.W008",
        )
        for alias in missed
    ]


def _is_deserted(store: Store) -> bool:
    """Whether jobs are ready and no worker lives, by the leases alone: workers may be on other hosts."""
    now_us = SystemClock().now_us()
    try:
        has_work = bool(store.find(Query(state=State.READY, limit=1)))
        return has_work and not any(worker.lease_until_us >= now_us for worker in store.workers())
    except SchemaMissing:
        # `migrate` runs the checks, too, before it makes the tables.
        return False


def _our_aliases() -> list[str]:
    # Here, since `site` needs the settings that are checked.
    from django_worker.site import our_aliases

    return our_aliases()
