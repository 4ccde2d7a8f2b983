"""Server-sent events: what has changed of some jobs since a client was last told, in the form that EventSource reads.

One dialect for all servers. Each answer begins with `retry` and an `id` without data, which no listener hears of (`data:`
alone would be an empty event `message`): so whoever loses the connection at once comes back with it. Then each job that has changed tells its `state`, its
`progress`, its new `message`s, and at its end `result` (to links that may have it) and `end`. Each is a small snapshot:
one that is missed does no harm. `id` names what the client has been told of all jobs of the stream, by numbers that are
the store's: any process can go on from there.

Under WSGI an answer is finite: what is new, with a length, and the end. No thread waits with it, and EventSource comes
again after `retry`. Under ASGI `held.py` goes on.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from treadle.states import State
from treadle.web import looks
from treadle.web.links import Grant
from treadle.web.looks import Look
from treadle.web.problems import Answer
from treadle.web.requests import Asked
from treadle.web.resources import Urls

MOST_JOBS = 50
"""In one stream."""
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
HEARTBEAT = b": \n\n"
"""A comment, so that no proxy takes a stream for dead."""

_ID = re.compile(r"\d{1,18}-\d{1,18}", re.ASCII)


class Told(NamedTuple):
    """How much of a job a client knows: its version, and the number of the last message."""

    version: int = 0
    message: int = 0


GONE = Told(10**17)
"""What a client knows of a job that is not there."""


class Followed(NamedTuple):
    """A job of a stream: the link it is followed by, and what that opens."""

    grant: Grant | None
    """None for a link that opens nothing, or to a job that is gone."""
    urls: Urls


def told_of(last_event_id: str | None, count: int) -> list[Told] | None:
    """What a client knows of each of its jobs, by the last id it was sent; None where it was sent none of ours."""
    texts = (last_event_id or "").split(".")
    if len(texts) != count or not all(map(_ID.fullmatch, texts)):
        return None
    return [Told(*map(int, text.split("-"))) for text in texts]


def id_of(told: Iterable[Told]) -> str:
    return ".".join(f"{each.version}-{each.message}" for each in told)


class Stream:
    """What one client has been told, and what it is to be told now."""

    def __init__(self, jobs: Sequence[Followed], last_event_id: str | None, asked: Asked) -> None:
        told = told_of(last_event_id, len(jobs))
        self.is_known = told is not None
        """Whether the client comes back."""
        self.told = told or [Told()] * len(jobs)
        self.jobs = jobs
        self._asked = asked
        self._ended = [False] * len(jobs)

    @property
    def has_ended(self) -> bool:
        """Whether there will be no news of any of the jobs."""
        return all(self._ended)

    def begin(self, retry_s: float) -> bytes:
        """What an answer begins with: when to come again, and what the client knows."""
        return f"retry: {round(retry_s * 1000)}\nid: {id_of(self.told)}\n\n".encode()

    def tell(self, index: int, look: Look | None) -> bytes:
        """The news of one job, if there are any; None: it is not there, or no more."""
        if look is None:
            return self._lose(index)
        self._ended[index] = look.row.state.is_finished
        if look.row.version <= self.told[index].version:
            return b""
        new = [message for message in look.messages if message.number > self.told[index].message]
        self.told[index] = Told(look.row.version, new[-1].number if new else self.told[index].message)
        return self._joined(self._blocks(self.jobs[index], look._replace(messages=new)))

    def _lose(self, index: int) -> bytes:
        self._ended[index] = True
        if self.told[index] == GONE:
            return b""
        self.told[index] = GONE
        src = self.jobs[index].urls["status"]
        return self._joined([_block("end", {"src": src, "state": None, "error": self._asked.words["not_found"]})])

    def _joined(self, blocks: Sequence[str]) -> bytes:
        """These blocks, whose last one alone says that the client was told all of it."""
        return "".join([*blocks[:-1], f"id: {id_of(self.told)}\n", blocks[-1]]).encode()

    def _blocks(self, followed: Followed, look: Look) -> list[str]:
        urls, row = followed.urls, look.row
        src = {"src": urls["status"]}
        state = looks.state_of(row, self._asked.words, debug=self._asked.debug)
        blocks = [
            _block("state", {**src, **state, "urls": urls}),
            _block("progress", {**src, **looks.progress_of(look), "parts": looks.parts_of(look)}),
            *(_block("message", {**src, **looks.message_of(message)}) for message in look.messages),
        ]
        if row.state is State.SUCCEEDED and "result" in urls:
            blocks.append(_block("result", {**src, "url": urls["result"]}))
        if row.state.is_finished:
            blocks.append(_block("end", {**src, "state": row.state, "error": state["error"]}))
        return blocks


def finite(stream: Stream, found: Sequence[Look | None], retry_s: Callable[[float], float]) -> Answer:
    """What is new of all jobs, and the end; 204, after which EventSource asks no more, where the client knows it all.

    `retry_s` says when to come again after a job of some age.
    """
    begin = stream.begin(retry_s(youngest_s(found)))
    news = b"".join(stream.tell(index, look) for index, look in enumerate(found))
    if stream.is_known and stream.has_ended and not news:
        return Answer(204, {"Cache-Control": "no-store"}, b"")
    return Answer(200, {**HEADERS, "Content-Length": str(len(begin + news))}, begin + news)


def youngest_s(found: Iterable[Look | None]) -> float:
    """The age of the youngest of these jobs that has not ended."""
    open_ = [look for look in found if look is not None and not look.row.state.is_finished]
    return min((looks.age_s(look.row, look.now_us) for look in open_), default=0.0)


def _block(event: str, data: dict[str, Any]) -> str:
    # JSON has no line ends of its own, so one line carries any data.
    return f"event: {event}\ndata: {msgspec.json.encode(data).decode()}\n\n"
