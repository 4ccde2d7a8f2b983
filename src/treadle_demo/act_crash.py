"""Act 3: kill -9 of the worker in the middle of a group, and the count of what was lost or done twice."""

import os
import signal
import time
from typing import Any, NamedTuple

from treadle.clock import US_PER_S
from treadle.job import OutcomeKind
from treadle.states import State
from treadle.store.contract import WorkerRow
from treadle_demo.act_speed import now_us
from treadle_demo.errors import DemoError
from treadle_demo.stage import Stage
from treadle_demo.terminal import ProgressBar, counted, heading, say

KILL_AT = 0.3
"""Of the progress of the group."""
LOOK_EVERY_S = 0.02
START_TIMEOUT_S = 30.0


class Tally(NamedTuple):
    """What the rows say about a group after the crash."""

    sent: int
    finished: int
    accepted_twice: int
    cut_short: int
    resumed_s: float | None
    """From the kill to the first run that another worker began; None where nothing was left to run."""

    @property
    def lost(self) -> int:
        return self.sent - self.finished

    def __str__(self) -> str:
        text = f"sent {self.sent}, finished {self.finished}, lost {self.lost}, accepted twice {self.accepted_twice}"
        if self.resumed_s is None:
            return f"{text}; the group had ended before the kill: more input is needed"
        return f"{text}, resumed after {self.resumed_s:.1f} s"


def play(stage: Stage, expected: Any) -> None:
    """Raises DemoError where a job was lost, more than one of its runs was accepted, or the result is another."""
    heading("Act 3: kill -9 of the worker in the middle of a group")
    sent = stage.client.send("all")
    bar = ProgressBar()
    worker, killed_us = kill_worker(stage, sent["id"])
    say(f"  killed process {worker.pid}, one of the two web processes, in which the worker ran")
    stage.client.follow(sent, bar.show)
    bar.end()
    tallied = tally(stage, sent["id"], worker, killed_us)
    say(f"  {tallied}")
    check(tallied, is_same_result=stage.client.result(sent) == expected)
    cut_short = counted(tallied.cut_short, "run")
    say(f"  {cut_short} cut short by the kill and started again; the result is that of act 1")


def kill_worker(stage: Stage, whole_id: str) -> tuple[WorkerRow, int]:
    """Wait for the middle of the group, then kill the process that runs the worker."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while (stage.records.job(whole_id).progress.fraction or 0) < KILL_AT:
        if time.monotonic() > deadline_s:
            raise DemoError(f"no worker had done {KILL_AT:.0%} of the group after {START_TIMEOUT_S:.0f} s")
        time.sleep(LOOK_EVERY_S)
    worker = only_worker(stage)
    killed_us = now_us()
    os.kill(worker.pid, signal.SIGKILL)
    return worker, killed_us


def only_worker(stage: Stage) -> WorkerRow:
    """Raises DemoError where the web processes have not elected exactly one."""
    workers = stage.records.workers()
    if len(workers) != 1:
        raise DemoError(f"{len(workers)} workers serve the store, and the web processes should have elected one")
    return workers[0]


def tally(stage: Stage, whole_id: str, killed: WorkerRow, killed_us: int) -> Tally:
    """Count in the rows of the store."""
    jobs = stage.records.group(whole_id)
    attempts = stage.records.attempts(jobs)
    accepted = {job.id: [a for a in attempts.get(job.id, ()) if a.outcome is OutcomeKind.SUCCEEDED] for job in jobs}
    started_us = [a.started_at_us or 0 for runs in accepted.values() for a in runs if a.worker_id != killed.id]
    return Tally(
        sent=len(jobs),
        finished=sum(job.state is State.SUCCEEDED for job in jobs),
        accepted_twice=sum(len(runs) > 1 for runs in accepted.values()),
        cut_short=sum(a.outcome is OutcomeKind.CRASHED for runs in attempts.values() for a in runs),
        resumed_s=(min(started_us) - killed_us) / US_PER_S if started_us else None,
    )


def check(tallied: Tally, is_same_result: bool) -> None:
    """Raises DemoError for a claim that did not hold."""
    if tallied.lost or tallied.accepted_twice:
        raise DemoError(f"after kill -9: {tallied.lost} jobs lost, {tallied.accepted_twice} accepted twice")
    if not is_same_result:
        raise DemoError("after kill -9 the result is not the one of act 1")
