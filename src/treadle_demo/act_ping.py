"""Act 2: a view with nothing to do, asked again and again, while the cores idle and while all of them compute."""

import time
from collections.abc import Callable
from statistics import quantiles
from typing import NamedTuple

from treadle_demo.stage import Stage
from treadle_demo.terminal import heading, say, table

PAUSE_S = 0.005
ENOUGH = 10
"""Fewer answers say nothing."""


class Latency(NamedTuple):
    """Of the answers to /ping, in milliseconds."""

    p50_ms: float
    p95_ms: float
    requests: int


def play(stage: Stage) -> None:
    heading("Act 2: /ping while all cores compute")
    idle = measure(stage, lambda count: count < stage.pings)
    sent = stage.client.send("sample")
    busy = measure(stage, lambda count: count < stage.pings and not is_finished(stage, sent["id"]))
    stage.client.follow(sent, lambda status: None)
    table(["", "p50", "p95", "requests"], [_row("idle", idle), _row("computing", busy)])


def measure(stage: Stage, goes_on: Callable[[int], bool]) -> Latency | None:
    """Ask as long as `goes_on(count)` says, a few milliseconds apart, each time on a new connection; None if that was too short."""
    times_ms: list[float] = []
    while goes_on(len(times_ms)):
        start_s = time.perf_counter()
        stage.client.get("/ping")
        times_ms.append((time.perf_counter() - start_s) * 1000)
        time.sleep(PAUSE_S)
    if len(times_ms) < ENOUGH:
        return None
    cuts = quantiles(times_ms, n=20, method="inclusive")
    return Latency(cuts[9], cuts[18], len(times_ms))


def is_finished(stage: Stage, job_id: str) -> bool:
    return stage.records.job(job_id).state.is_finished


def _row(name: str, latency: Latency | None) -> list[str | int]:
    if latency is None:
        return [name, "too short to measure: more input is needed", "", 0]
    return [name, f"{latency.p50_ms:.1f} ms", f"{latency.p95_ms:.1f} ms", latency.requests]


def meet_all(stage: Stage, processes: int) -> None:
    """Ask until every web process has answered once: it serves from then on, and may run the worker."""
    met: set[bytes] = set()
    deadline_s = time.monotonic() + 10
    while len(met) < processes and time.monotonic() < deadline_s:
        met.add(stage.client.get("/ping").body)
    if len(met) < processes:
        say(f"  (only {len(met)} of {processes} web processes answered)")
