"""The job in Treadle."""

from typing import Any

from benchmarks.apps import one_by_one, place
from benchmarks.apps.stamps import stamp
from treadle import State, Treadle

options: dict[str, Any] = {"sqlite_synchronous": place.synchronous()} if place.synchronous() else {}
app = Treadle(place.postgres_url() or f"sqlite:///{place.folder() / 'treadle.sqlite3'}", **options)


@app.task
def job() -> None:
    stamp()


def prepare() -> None:
    app.store.prepare()


def send() -> object:
    return app.send_function(job)


send_each = one_by_one(send)


def send_bulk(count: int) -> object:
    return app.send_many(job.bind() for _ in range(count))


def unfinished() -> int:
    return sum(count for (_, state), count in app.store.counts().items() if not State(state).is_finished)
