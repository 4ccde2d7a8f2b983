"""Act 1: the job on the whole input, then `serial | threads | Treadle` on a sample of it."""

import json
import os
import subprocess
import sys
import time
from typing import Any, NamedTuple

from treadle.clock import US_PER_S
from treadle.cores import usable_cores
from treadle_demo import plain, results, server
from treadle_demo.corpus import BYTES_PER_MB
from treadle_demo.errors import DemoError
from treadle_demo.machine import Meter
from treadle_demo.stage import Stage
from treadle_demo.terminal import ProgressBar, heading, say, table

TREADLE = "Treadle"
GOOD_SHARE = 0.9
"""Of the cores: a speed-up below it is explained by how many of them were free."""
PLAIN_TIMEOUT_S = 600


class Run(NamedTuple):
    """One measured way through the sample."""

    seconds: float
    result: Any
    free_cores: float = 0.0
    """Meanwhile, for what Treadle does."""


class Speed(NamedTuple):
    """What the comparison gave."""

    best_s: dict[str, float]
    """The best time of each way."""
    free_cores: float
    """What others left during the best of Treadle's runs."""

    def speed_up(self, way: str) -> float:
        return self.best_s["serial"] / self.best_s[way]

    def __str__(self) -> str:
        cores = usable_cores()
        text = f"speed-up {self.speed_up(TREADLE):.2f} on {cores} {'core' if cores == 1 else 'cores'}"
        if self.speed_up(TREADLE) < GOOD_SHARE * cores:
            text += f", of which {self.free_cores:.1f} were free"
        return text


def play(stage: Stage) -> tuple[Any, Speed]:
    """The result of the job on the whole input, and how the three ways compare."""
    heading(f"Act 1: {stage.corpora['all']} of Python source, sent from a view")
    return analyse_all(stage), compare(stage)


def analyse_all(stage: Stage) -> Any:
    """Send everything, follow it, show what came out, and return it."""
    bar = ProgressBar()
    start_us = now_us()
    sent = stage.client.send("all")
    stage.client.follow(sent, bar.show)
    bar.end()
    seconds = (finished_us(stage, sent) - start_us) / US_PER_S
    result = stage.client.result(sent)
    results.show(result)
    rate = stage.corpora["all"].bytes / BYTES_PER_MB / seconds
    say(f"\n  One job in {len(stage.records.group(sent['id'])) - 1} parts, {seconds:.1f} s, {rate:.1f} MB/s")
    return result


def compare(stage: Stage) -> Speed:
    """Run the sample in turns, `rounds` times each way, and keep the best. Raises DemoError where results differ."""
    say(f"\n  Compared on a sample of it ({stage.corpora['sample']}), in turns, best of {stage.rounds}:\n")
    runs: dict[str, list[Run]] = {"serial": [], "threads": [], TREADLE: []}
    for _ in range(stage.rounds):
        for way in plain.WAYS:
            runs[way].append(run_plain(stage, way))
        runs[TREADLE].append(run_treadle(stage))
    if any(run.result != runs["serial"][0].result for way in runs for run in runs[way]):
        raise DemoError("the three ways did not give the same result")
    best = {way: min(runs[way], key=lambda run: run.seconds) for way in runs}
    speed = Speed({way: run.seconds for way, run in best.items()}, best[TREADLE].free_cores)
    show(speed)
    return speed


def show(speed: Speed) -> None:
    table(
        ["", *speed.best_s],
        [
            ["seconds", *(f"{seconds:.2f}" for seconds in speed.best_s.values())],
            ["speed-up", *(f"{speed.speed_up(way):.2f}" for way in speed.best_s)],
        ],
    )
    say("\n  The same result three times. Treadle's time runs from the POST to the result in the store.")


def run_plain(stage: Stage, way: str) -> Run:
    """Plain Python in a process of its own, which measures itself: its start does not count."""
    command = [sys.executable, "-m", plain.__name__, way, str(stage.server.input_path), "sample"]
    environment = {**os.environ, **server.quiet_parsing()}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PLAIN_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise DemoError(f"the {way} run failed: {done.stderr.strip()}")
    return Run(**json.loads(done.stdout))


def run_treadle(stage: Stage) -> Run:
    """The durable way: over HTTP, through the store."""
    meter = Meter(stage.server.process.pid)
    start_us = now_us()
    sent = stage.client.send("sample")
    stage.client.follow(sent, lambda status: None)
    seconds = (finished_us(stage, sent) - start_us) / US_PER_S
    return Run(seconds, stage.client.result(sent), meter.free_cores())


def finished_us(stage: Stage, sent: dict[str, Any]) -> int:
    """When the result was in the store: a follower hears of it up to Retry-After later."""
    return stage.records.job(sent["id"]).finished_at_us or now_us()


def now_us() -> int:
    return time.time_ns() // 1000
