"""The job in SAQ."""

from typing import Any

from saq import Queue

from benchmarks.apps import place
from benchmarks.apps.coroutines import run
from benchmarks.apps.stamps import stamp

queue = Queue.from_url(place.redis_url() or "")


async def job(_: Any) -> None:
    stamp()


settings = {"queue": queue, "functions": [job]}


def prepare() -> None:
    """Nothing: Redis has no tables."""


def send() -> object:
    return run(queue.enqueue("job"))


def send_each(count: int) -> None:
    run(_send_each(count))


async def _send_each(count: int) -> None:
    for _ in range(count):
        await queue.enqueue("job")


def unfinished() -> int:
    return int(run(queue.count("incomplete")))
