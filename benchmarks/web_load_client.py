"""The visitors of `web_load.py`, in a process of their own: some send jobs, many follow them. Answers in JSON.

`python -m benchmarks.web_load_client PORT KIND FOLLOWERS SENDS_PER_S SECONDS`. A follower is what a browser's EventSource
is: it reads a stream to its end, waits as long as it was told, and comes back with the id of the last event.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from benchmarks.report import percentile

NEWEST = 8
"""A follower takes one of so many jobs that were sent last: of the last half second."""
LOOK_S = (0.5, 1.5)
"""For so long a follower looks at what came out."""
DEFAULT_RETRY_S = 1.0
ANSWER_WITHIN_S = 30.0


@dataclass
class Event:
    """One block of a stream."""

    kind: str = ""
    id: str = ""
    data: str = ""
    retry_s: float | None = None


@dataclass
class Visitors:
    """All of them, and what they met."""

    site: aiohttp.ClientSession
    kind: str
    until_s: float
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    """A job was sent."""
    newest: deque[str] = field(default_factory=lambda: deque(maxlen=NEWEST))
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    delays_ms: list[float] = field(default_factory=list)
    """From what a job reported to the visitor that was told, where the visitor was following it already."""

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until_s

    async def send(self) -> None:
        """One job, whose events others may follow."""
        try:
            async with self.site.post("/send", params={"kind": self.kind}) as answer:
                if answer.status != HTTPStatus.ACCEPTED:
                    self.failures[f"send: {answer.status}"] += 1
                    return
                self.newest.append((await answer.json())["urls"]["events"])
                self.counts["sent"] += 1
                self.has_begun.set()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures[f"send: {type(error).__name__}"] += 1

    async def send_all(self, per_s: float) -> None:
        """At an even pace, whether they are answered or not."""
        async with asyncio.TaskGroup() as sends:
            while not self.is_over:
                sends.create_task(self.send())
                await asyncio.sleep(1 / per_s)

    async def follow_all(self) -> None:
        """One visitor: follow one job after the other."""
        await self.has_begun.wait()
        while not self.is_over:
            await self.follow(random.choice(self.newest))
            await asyncio.sleep(random.uniform(*LOOK_S))

    async def follow(self, url: str) -> None:
        """One job to its end."""
        last_id, retry_s, was_told = "", DEFAULT_RETRY_S, False
        while not self.is_over:
            async for event in self.events(url, last_id):
                last_id, retry_s = event.id or last_id, event.retry_s or retry_s
                self.counts["events"] += bool(event.kind)
                if event.kind == "progress" and was_told:
                    self._note_delay(event)
                was_told |= event.kind == "progress"
                if event.kind == "end":
                    self.counts["followed to the end"] += 1
                    return
            await asyncio.sleep(retry_s)

    async def events(self, url: str, last_id: str) -> AsyncIterator[Event]:
        """Those of one answer."""
        self.counts["requests"] += 1
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            async with self.site.get(url, headers=headers) as answer:
                if answer.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
                    self.failures[f"events: {answer.status}"] += 1
                async for event in _events(answer.content):
                    yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures[f"events: {type(error).__name__}"] += 1

    def _note_delay(self, event: Event) -> None:
        reported = json.loads(event.data)["message"]
        if reported:
            self.delays_ms.append((time.time() - float(reported)) * 1000)

    def answer(self) -> dict[str, object]:
        delays = sorted(self.delays_ms)
        return {
            "counts": self.counts,
            "failures": self.failures,
            "delay_ms": {name: percentile(delays, name) for name in (50, 95)} if delays else None,
        }


async def _events(lines: aiohttp.StreamReader) -> AsyncIterator[Event]:
    event = Event()
    async for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                event.kind = value
            case "id":
                event.id = value
            case "data":
                event.data = value
            case "retry":
                event.retry_s = int(value) / 1000
            case "" if not value:
                yield event
                event = Event()


async def visit(port: int, kind: str, followers: int, sends_per_s: float, seconds: float) -> dict[str, object]:
    """So many followers for so long."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_WITHIN_S, sock_read=ANSWER_WITHIN_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout, connector=connector) as site:
        visitors = Visitors(site, kind, time.monotonic() + seconds)
        following = [asyncio.create_task(visitors.follow_all()) for _ in range(followers)]
        await visitors.send_all(sends_per_s)
        # Who reads a stream that goes on is in the middle of it.
        for each in following:
            each.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        return visitors.answer()


if __name__ == "__main__":
    port, kind, followers, sends_per_s, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(visit(int(port), kind, int(followers), float(sends_per_s), float(seconds)))))
