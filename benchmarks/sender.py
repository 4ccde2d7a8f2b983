"""Sends the jobs of one library, in a process of its own, and prints what it measured as JSON.

`python -m benchmarks.sender MODULE enqueue COUNT`, `… bulk COUNT`, `… crowd COUNT PAUSE_S`,
`… latency COUNT LONGEST_PAUSE_S` or `… unfinished`; MODULE is one of `benchmarks.apps`.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from importlib import import_module

from benchmarks.apps import App, BulkApp, place, stamps

WARM_UP = 1
"""Jobs that are sent first and not measured: to connect, and to be sure that the worker has started."""
SHORTEST_PAUSE_S = 0.02
"""After which a worker has nothing left to do."""
BULK = 1000
"""Jobs in one call of the verb that sends many at once."""
ANSWER_WITHIN_S = 30
LOOK_EVERY_S = 0.002


def main(module: str, verb: str, count: str = "0", pause_s: str = "0") -> None:
    app: BulkApp = import_module(f"benchmarks.apps.{module}")
    match verb:
        case "enqueue":
            print(json.dumps(enqueue(app, int(count))))
        case "bulk":
            print(json.dumps(bulk(app, int(count))))
        case "crowd":
            print(json.dumps(crowd(app, int(count), float(pause_s))))
        case "latency":
            print(json.dumps(latency(app, int(count), float(pause_s))))
        case "unfinished":
            print(json.dumps(app.unfinished()))


def enqueue(app: App, count: int) -> float:
    """Jobs a second, sent one by one, each in its own transaction; sends WARM_UP more before."""
    _warm_up(app)
    started_s = time.perf_counter()
    app.send_each(count)
    return count / (time.perf_counter() - started_s)


def bulk(app: BulkApp, count: int) -> float:
    """Jobs a second, sent BULK at a time; sends WARM_UP more before, one by one."""
    _warm_up(app)
    started_s = time.perf_counter()
    for sent in range(0, count, BULK):
        app.send_bulk(min(BULK, count - sent))
    return count / (time.perf_counter() - started_s)


def crowd(app: App, count: int, pause_s: float) -> list[float]:
    """Milliseconds of each send, once the file `go` is there, for which several senders wait.

    Between sends there are pauses at random, as long as this on average, as between the requests of a web site.
    """
    _warm_up(app)
    _await("no sign to begin", (place.folder() / "go").exists)
    return [_timed_send(app, random.expovariate(1 / pause_s) if pause_s else 0) for _ in range(count)]


def _timed_send(app: App, pause_s: float) -> float:
    if pause_s:
        time.sleep(pause_s)
    started_s = time.perf_counter()
    app.send()
    return (time.perf_counter() - started_s) * 1e3


def _warm_up(app: App) -> None:
    app.prepare()
    for _ in range(WARM_UP):
        app.send()


def latency(app: App, samples: int, longest_pause_s: float) -> list[float]:
    """Milliseconds from just before a send to an idle worker until the function ran, for each sample.

    The pause before each is random, so that it does not fall into step with a worker that polls; its
    bound should be longer than the time between two polls.
    """
    return [_sample(app, longest_pause_s) for _ in range(WARM_UP + samples)][WARM_UP:]


def _sample(app: App, longest_pause_s: float) -> float:
    time.sleep(random.uniform(SHORTEST_PAUSE_S, longest_pause_s))
    ran_before = stamps.count(place.folder())
    sent_ns = time.time_ns()
    app.send()
    return (_next_stamp_ns(ran_before) - sent_ns) / 1e6


def _next_stamp_ns(ran_before: int) -> int:
    _await("no worker ran the job", lambda: stamps.count(place.folder()) > ran_before)
    return stamps.read(place.folder())[ran_before]


def _await(what_is_missing: str, is_there: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + ANSWER_WITHIN_S
    while not is_there():
        if time.monotonic() > deadline_s:
            raise SystemExit(f"{what_is_missing} within {ANSWER_WITHIN_S} s")
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
