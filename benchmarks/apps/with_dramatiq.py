"""The job in Dramatiq."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.apps import one_by_one, place
from benchmarks.apps.stamps import stamp

broker = RedisBroker(url=place.redis_url())
dramatiq.set_broker(broker)


@dramatiq.actor  # type: ignore[untyped-decorator]
def job() -> None:
    stamp()


def prepare() -> None:
    """Nothing: Redis has no tables."""


def send() -> object:
    return job.send()


send_each = one_by_one(send)


def unfinished() -> int:
    # Those that wait, and those that a worker has taken and not acknowledged.
    return int(broker.do_qsize(job.queue_name))
