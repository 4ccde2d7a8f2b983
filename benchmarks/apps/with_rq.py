"""The job in RQ; this module is also what its worker reads its settings from."""

from redis import Redis
from rq import Queue

from benchmarks.apps import one_by_one, place
from benchmarks.apps.stamps import stamp

REDIS_URL = place.redis_url() or ""
queue = Queue(connection=Redis.from_url(REDIS_URL))


def job() -> None:
    stamp()


def prepare() -> None:
    """Nothing: Redis has no tables."""


def send() -> object:
    return queue.enqueue(job)


send_each = one_by_one(send)


def send_bulk(count: int) -> object:
    return queue.enqueue_many([Queue.prepare_data(job) for _ in range(count)])


def unfinished() -> int:
    return len(queue) + len(queue.started_job_registry) + len(queue.failed_job_registry)
