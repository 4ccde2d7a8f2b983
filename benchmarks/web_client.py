"""The visitors of the measured site: some that ping it now and then, some that let it compute."""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.web_site import HOST, Site

ANSWER_WITHIN_S = 30.0
REACH_WITHIN_S = 60.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.015
"""Between two pings of a visitor, at random, so that they fall into step with nothing."""
BEGIN_S = 0.3
"""After which computing is under way."""
OK = 200


@dataclass
class Pings:
    """What some visitors met."""

    latency_ms: list[float] = field(default_factory=list)
    failed: int = 0


class Visitor:
    """One connection, which stays with one web process."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_WITHIN_S)
        self.pid = int(self._get())

    def _get(self) -> bytes:
        self._connection.request("GET", "/ping")
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != OK:
            raise http.client.HTTPException(f"/ping answered {answer.status}")
        return body

    def ping(self, pings: Pings, until_s: float) -> None:
        """Ping again and again."""
        while time.monotonic() < until_s:
            time.sleep(random.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))
            started_ns = time.perf_counter_ns()
            if self._is_answered():
                pings.latency_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
            else:
                pings.failed += 1

    def _is_answered(self) -> bool:
        try:
            return int(self._get()) == self.pid
        except (OSError, http.client.HTTPException, ValueError):
            # Opened again by the next request, perhaps to another process: what it answers is an error then too.
            self._connection.close()
            return False

    def leave(self) -> None:
        self._connection.close()


def ping(site: Site, seconds: float) -> Pings:
    """One visitor of each web process for so long. Raises BenchmarkError."""
    visitors = _visitors(site)
    each = [Pings() for _ in visitors]
    until_s = time.monotonic() + seconds
    with ThreadPoolExecutor(len(visitors)) as threads:
        list(threads.map(lambda visitor, pings: visitor.ping(pings, until_s), visitors, each))
    for visitor in visitors:
        visitor.leave()
    return Pings([ms for pings in each for ms in pings.latency_ms], sum(pings.failed for pings in each))


def _visitors(site: Site) -> list[Visitor]:
    """Connections until each web process has one; which takes it is chance."""
    found: dict[int, Visitor] = {}
    deadline_s = time.monotonic() + REACH_WITHIN_S
    while len(found) < site.processes:
        try:
            visitor = Visitor(site.port)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise site.error(f"/ping: {error!r}") from error
        if found.setdefault(visitor.pid, visitor) is not visitor:
            visitor.leave()
        if time.monotonic() > deadline_s:
            raise site.error(f"only {len(found)} of {site.processes} web processes answer")
    return list(found.values())


@dataclass(frozen=True)
class Work:
    """What a computing request asks for."""

    how: str
    seconds: float
    children: int

    def request(self, site: Site) -> int:
        """Let it compute, and give the web process. Raises BenchmarkError where it did not do what was asked."""
        answer = _get_json(site, f"/compute?how={self.how}&seconds={self.seconds}")
        pid, ran = answer["pid"], answer["ran"]
        is_right = ran == [pid] if self.how == "view" else len(ran) == self.children and pid not in ran
        if not is_right:
            raise site.error(f"{self}: the web process {pid} says that {ran} computed")
        return int(pid)


def _get_json(site: Site, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(HOST, site.port, timeout=ANSWER_WITHIN_S)
    try:
        # A connection of its own for each, so that every web process gets its share.
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise site.error(f"{path}: {error!r}") from error
    finally:
        connection.close()
    if answer.status != OK:
        raise site.error(f"{path} answered {answer.status}")
    answered: dict[str, Any] = json.loads(body)
    return answered


def reach_each(site: Site, work: Work) -> None:
    """Requests at once, until every web process has computed. Raises BenchmarkError."""
    reached: set[int] = set()
    deadline_s = time.monotonic() + REACH_WITHIN_S
    with ThreadPoolExecutor(site.processes) as threads:
        while len(reached) < site.processes:
            reached.update(threads.map(lambda _: work.request(site), range(site.processes)))
            if time.monotonic() > deadline_s:
                raise site.error(f"{work}: only {len(reached)} of {site.processes} web processes were reached")


@contextmanager
def computing(site: Site, work: Work, visitors: int) -> Iterator[None]:
    """Inside so many visitors let it compute without a pause. Raises BenchmarkError where a request fails."""
    enough = threading.Event()
    with ThreadPoolExecutor(visitors) as threads:
        futures = [threads.submit(_compute_until, enough, site, work) for _ in range(visitors)]
        try:
            time.sleep(BEGIN_S)
            yield
        finally:
            enough.set()
        for future in futures:
            future.result()


def _compute_until(enough: threading.Event, site: Site, work: Work) -> None:
    while not enough.is_set():
        work.request(site)
