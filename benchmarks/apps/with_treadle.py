"""The job in Treadle."""

from typing import Any

from benchmarks.apps import place
from benchmarks.apps.stamps import stamp
from treadle import State, Treadle

options: dict[str, Any] = {"sqlite_synchronous": place.synchronous()} if place.synchronous() else {}
app = Treadle(f"sqlite:///{place.folder() / 'treadle.sqlite3'}", **options)


@app.task
def job() -> None:
    stamp()


def prepare() -> None:
    app.store.prepare()


def send() -> object:
    return app.send_function(job)


def unfinished() -> int:
    return sum(count for (_, state), count in app.store.counts().items() if not State(state).is_finished)
