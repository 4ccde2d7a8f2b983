"""The job in Huey."""

import sqlite3

from huey import Huey, RedisHuey
from huey.storage import SqliteStorage

from benchmarks.apps import one_by_one, place
from benchmarks.apps.stamps import stamp


class Storage(SqliteStorage):  # type: ignore[misc]
    """Huey's, which knows FULL (its default) and OFF, also with NORMAL: as durable as the others, and quicker."""

    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        connection.execute(place.pragmas())
        return connection


def _in_sqlite() -> Huey:
    file = str(place.folder() / "huey.sqlite3")
    return Huey("bench", storage_class=Storage, filename=file, timeout=place.BUSY_TIMEOUT_S)


huey = RedisHuey("bench", url=place.redis_url()) if place.redis_url() else _in_sqlite()


@huey.task()  # type: ignore[untyped-decorator]
def job() -> None:
    stamp()


def prepare() -> None:
    """Nothing: the import has made the tables."""


def send() -> object:
    return job()


send_each = one_by_one(send)


def unfinished() -> int:
    return int(huey.pending_count())
