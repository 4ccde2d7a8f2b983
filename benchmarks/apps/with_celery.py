"""The job in Celery."""

from celery import Celery

from benchmarks.apps import one_by_one, place
from benchmarks.apps.stamps import stamp

app = Celery("bench", broker=place.redis_url())
app.conf.broker_connection_retry_on_startup = True


@app.task(name="job")  # type: ignore[untyped-decorator]
def job() -> None:
    stamp()


def prepare() -> None:
    """Nothing: Redis has no tables."""


def send() -> object:
    return job.delay()


send_each = one_by_one(send)


def unfinished() -> int:
    with app.connection_for_read() as connection:
        client = connection.default_channel.client
        return int(client.llen(app.conf.task_default_queue) + client.hlen("unacked"))
