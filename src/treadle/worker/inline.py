"""Runs the jobs that are ready, here and now, in this thread: for tests and for the immediate mode."""

import os
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from treadle.clock import US_PER_S, Clock
from treadle.events import Event, JobStarted, LateResultRefused
from treadle.job import Ending, Job, Kind, Progress, Report, new_id
from treadle.pools.contract import reporting_to
from treadle.settings import Settings
from treadle.store.contract import Store, WorkerRow
from treadle.task import POOLS
from treadle.worker.committer import finish
from treadle.worker.completion import CALLER
from treadle.worker.execution import Runner, Work, whole_payload

ALL = 1_000_000
LEASE_S = 86_400
"""How long a call may run the jobs in it before a worker beside takes it for dead: nobody prolongs its lease meanwhile."""


def run_ready(
    store: Store, runner: Runner, settings: Settings, clock: Clock, announce: Callable[[Event], None]
) -> list[str]:
    """Run what is ready until nothing is, on the store's own connection; returns the ids in order.

    Jobs whose time has come are ready; a retry that waits is not. Those that had to begin before fail first.
    What a worker would announce of a run is announced.
    """
    ran = []
    worker_id = _register(store, clock)
    store.promote(clock.now_us(), ALL)
    store.expire(clock.now_us(), ALL)
    pools = (*POOLS, *settings.executors)
    while job := _claim_one(store, worker_id, clock, pools):
        announce(JobStarted(job, worker_id))
        announce(_run(job, worker_id, store, runner, settings, clock))
        ran.append(job.id)
    store.deregister([worker_id])
    return ran


def _register(store: Store, clock: Clock) -> str:
    """Make this run known under a name of its own: others may begin and end in other threads, or inside of it."""
    worker_id = f"{CALLER}{new_id()}"
    now_us = clock.now_us()
    store.register(
        WorkerRow(
            id=worker_id, host=socket.gethostname(), pid=os.getpid(), kind="embedded", started_at_us=now_us,
            last_seen_at_us=now_us, lease_until_us=now_us + LEASE_S * US_PER_S,
        )
    )  # fmt: skip
    return worker_id


def _claim_one(store: Store, worker_id: str, clock: Clock, pools: tuple[str, ...]) -> Job | None:
    for pool in pools:
        for job in store.claim(worker_id, 1, clock.now_us(), pool=pool, starts=True):
            return job
    return None


def _run(job: Job, worker_id: str, store: Store, runner: Runner, settings: Settings, clock: Clock) -> Event:
    reports: list[Report] = []

    def keep(value: Any) -> None:
        is_progress = isinstance(value, Progress)
        messages = () if is_progress else ((clock.now_us(), value),)
        reports.append(Report(job.claim, value if is_progress else None, messages))

    given = job
    if job.kind is Kind.WHOLE:
        given = msgspec.structs.replace(job, payload=whole_payload(store.part_results([job.id])[job.id]))
    with reporting_to(keep):
        outcome = runner.run(Work(given, tuple(store.attempts([job.id]).get(job.id, ()))))
    # Only now: the function may have a transaction open meanwhile, which would keep a SQLite store from writing.
    store.report(reports, clock.now_us())
    ended = finish(store, [Ending.of(job, outcome, clock.now_us(), settings.unknown_task_s)], worker_id)
    return ended.get(job.claim) or LateResultRefused(job, worker_id)
