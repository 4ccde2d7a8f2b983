"""Server-sent events under ASGI: the answer goes on, and tells each change as the watcher sees it.

It holds no thread and no connection to the database. It ends when all its jobs have, or after about five minutes, which
no proxy minds: EventSource then comes again, and tells what it knows. At SIGTERM it ends at once: a server that shuts down
waits for its answers.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress

from treadle.clock import Clock, SystemClock
from treadle.web.events import HEARTBEAT, Stream, Told
from treadle.web.looks import Look
from treadle.web.pace import JITTER
from treadle.web.watching import Watcher
from treadle.worker.embedded import at_sigterm

_mailboxes: "set[Mailbox]" = set()

HEARTBEAT_S = 15.0
"""Less than any proxy waits for a word."""
LIFETIME_S = 300.0


async def held(
    stream: Stream,
    beginning: bytes,
    watchers: Mapping[Watcher, Collection[str]],
    clock: Clock | None = None,
    lifetime_s: float = LIFETIME_S,
) -> AsyncIterator[bytes]:
    """The body of an answer that begins with `beginning`, what `events.finite` had to say.

    `watchers`: who looks at which of the jobs.
    """
    clock = clock or SystemClock()
    # So that clients which a restart has brought together part again.
    end_s = clock.monotonic_s() + lifetime_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    mailbox = Mailbox()
    by_id = known(stream)
    with ExitStack() as following:
        following.callback(_mailboxes.discard, mailbox)
        for watcher, ids in watchers.items():
            following.enter_context(watcher.following({id_: by_id[id_] for id_ in ids}, mailbox.put))
        yield beginning
        while not (stream.has_ended or mailbox.is_closed) and (left_s := end_s - clock.monotonic_s()) > 0:
            news = await mailbox.take(min(HEARTBEAT_S, left_s))
            yield told(stream, news) or HEARTBEAT


def known(stream: Stream) -> dict[str, Told]:
    """What the client knows of each job, by id; a job may be there by two links."""
    found: dict[str, Told] = {}
    for followed, each in zip(stream.jobs, stream.told, strict=True):
        if followed.grant is not None:
            other = found.get(followed.grant.job_id, each)
            found[followed.grant.job_id] = Told(*map(min, zip(each, other, strict=True)))
    return found


def told(stream: Stream, news: dict[str, list[Look | None]]) -> bytes:
    """The events of what is new."""
    ids = [followed.grant.job_id if followed.grant else "" for followed in stream.jobs]
    return b"".join(stream.tell(index, look) for index, id_ in enumerate(ids) for look in news.get(id_, ()))


class Mailbox:
    """Filled by the watcher's thread, emptied by one coroutine; made inside its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news: dict[str, list[Look | None]] = {}
        self._has_come = asyncio.Event()
        self.is_closed = False
        _mailboxes.add(self)

    def close(self) -> None:
        """Have the stream end; from any thread, or a signal handler."""
        self.is_closed = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._has_come.set)

    def put(self, news: dict[str, Look | None]) -> None:
        """Raises RuntimeError where the loop is closed."""
        self._loop.call_soon_threadsafe(self._add, news.items())

    def _add(self, news: Iterable[tuple[str, Look | None]]) -> None:
        for job_id, look in news:
            # A client that reads slowly is told the newest state; no message is left out.
            kept = self._news.setdefault(job_id, [])
            before = kept.pop() if kept and look is not None else None
            kept.append(look._replace(messages=[*before.messages, *look.messages]) if before and look else look)
        self._has_come.set()

    async def take(self, timeout_s: float) -> dict[str, list[Look | None]]:
        """What has come, waiting for it at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_come.wait()
        except TimeoutError:
            return {}
        self._has_come.clear()
        news, self._news = self._news, {}
        return news


def hang_up() -> None:
    """End all streams of this process: who follows comes again, to whatever serves then."""
    for mailbox in tuple(_mailboxes):
        mailbox.close()


at_sigterm.append(hang_up)
