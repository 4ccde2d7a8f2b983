"""The job in Procrastinate."""

from functools import cache

import psycopg
from procrastinate import App, PsycopgConnector

from benchmarks.apps import one_by_one, place
from benchmarks.apps.stamps import stamp

app = App(connector=PsycopgConnector(conninfo=place.postgres_url() or ""))


@app.task(name="job")  # type: ignore[untyped-decorator]
async def job() -> None:
    stamp()


def prepare() -> None:
    if not _value("SELECT to_regclass('procrastinate_jobs') IS NOT NULL"):
        _opened().schema_manager.apply_schema()


def send() -> object:
    _opened()
    return job.defer()


send_each = one_by_one(send)


def send_bulk(count: int) -> object:
    return job.batch_defer(*({} for _ in range(count)))


def unfinished() -> int:
    return _value("SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'")


@cache
def _opened() -> App:
    return app.open()


def _value(statement: str) -> int:
    with psycopg.connect(place.postgres_url() or "") as connection:
        row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0
