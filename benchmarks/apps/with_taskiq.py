"""The job in taskiq, with its broker that acknowledges: no job is lost there when a worker dies, as in Treadle."""

from redis.asyncio import Redis
from taskiq_redis import RedisStreamBroker

from benchmarks.apps import place
from benchmarks.apps.coroutines import run
from benchmarks.apps.stamps import stamp

broker = RedisStreamBroker(place.redis_url() or "")


@broker.task(task_name="job")  # type: ignore[untyped-decorator]
async def job() -> None:
    stamp()


def prepare() -> None:
    run(broker.startup())


def send() -> object:
    return run(job.kiq())


def send_each(count: int) -> None:
    run(_send_each(count))


async def _send_each(count: int) -> None:
    for _ in range(count):
        await job.kiq()


def unfinished() -> int:
    return run(_unfinished())


async def _unfinished() -> int:
    async with Redis(connection_pool=broker.connection_pool) as redis:
        (group,) = await redis.xinfo_groups(broker.queue_name)
    return int(group["lag"] + group["pending"])
