"""Sends the jobs of one library, in a process of its own, and prints what it measured as JSON.

`python -m benchmarks.sender MODULE enqueue COUNT`, `… latency COUNT LONGEST_PAUSE_S` or `… unfinished`; MODULE is
one of `benchmarks.apps`.
"""

import json
import random
import sys
import time
from importlib import import_module

from benchmarks.apps import App, place, stamps

WARM_UP = 1
"""Jobs that are sent first and not measured: to connect, and to be sure that the worker has started."""
SHORTEST_PAUSE_S = 0.02
"""After which a worker has nothing left to do."""
ANSWER_WITHIN_S = 30
LOOK_EVERY_S = 0.002


def main(module: str, verb: str, count: str = "0", longest_pause_s: str = "0") -> None:
    app: App = import_module(f"benchmarks.apps.{module}")
    match verb:
        case "enqueue":
            print(json.dumps(enqueue(app, int(count))))
        case "latency":
            print(json.dumps(latency(app, int(count), float(longest_pause_s))))
        case "unfinished":
            print(json.dumps(app.unfinished()))


def enqueue(app: App, count: int) -> float:
    """Jobs a second, sent one by one, each in its own transaction; sends WARM_UP more before."""
    app.prepare()
    for _ in range(WARM_UP):
        app.send()
    started_s = time.perf_counter()
    for _ in range(count):
        app.send()
    return count / (time.perf_counter() - started_s)


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
    deadline_s = time.monotonic() + ANSWER_WITHIN_S
    while stamps.count(place.folder()) <= ran_before:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"no worker ran the job within {ANSWER_WITHIN_S} s")
        time.sleep(LOOK_EVERY_S)
    return stamps.read(place.folder())[ran_before]


if __name__ == "__main__":
    main(*sys.argv[1:])
