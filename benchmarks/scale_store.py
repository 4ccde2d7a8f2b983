"""What `scale.py` does to a store, in a process of its own, and prints what it measured as JSON.

`python -m benchmarks.scale_store VERB [COUNT]`, in the environment of a `processes.Site` of Treadle. All goes through
the verbs of the store, so the rows, and what is left of old versions of them, are those of real jobs.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.apps import place, stamps
from benchmarks.apps.with_treadle import app, job
from treadle.clock import SystemClock
from treadle.job import Ending, Job, Outcome
from treadle.states import State
from treadle.store.contract import WorkerRow

BATCH = 64
"""Jobs in one commit of a worker whose jobs are short."""
FILL, FINISH = 5000, 1000
"""Jobs in one transaction while nothing is measured."""
TOP_UP = 250
WINDOWS = 9
"""Of a drain; their median counts."""
LOOK_EVERY_S = 0.005
START_WITHIN_S = 30
WORKER = "benchmark"
POOL = "processes"

clock = SystemClock()


def main(verb: str, count: str = "0") -> None:
    verbs: Mapping[str, Callable[[int], Any]] = {
        "fill": fill,
        "rounds": rounds,
        "drain": drain,
        "finish": finish,
        "sizes": sizes,
    }
    print(json.dumps(verbs[verb](int(count))))


def fill(level: int) -> dict[str, float]:
    """Send until so many wait; how many that were, and how many a second."""
    app.store.prepare()
    missing, started_s = level - waiting(), time.perf_counter()
    for sent in range(0, missing, FILL):
        _send(min(FILL, missing - sent))
    return {"sent": max(0, missing), "per_s": max(0, missing) / (time.perf_counter() - started_s)}


def waiting() -> int:
    """Jobs that are ready."""
    return sum(count for (_, state), count in app.store.counts().items() if State(state) is State.READY)


def rounds(count: int) -> dict[str, Any]:
    """Milliseconds of a claim of one job, of its end, and of the commit of a busy worker: a batch ends, the next begins.

    Each round sends as many jobs as it takes, outside of what is timed, so the level stays.
    """
    claim, finish, batch = list[float](), list[float](), list[float]()
    with _registered():
        for _ in range(count):
            app.store.upkeep()
            _send(1)
            with _timed(claim):
                taken = _claim(1)
            with _timed(finish):
                app.store.finish(_endings(taken))
        held = _claim(BATCH)
        for _ in range(count):
            app.store.upkeep()
            _send(BATCH)
            with _timed(batch), app.store.transaction():
                app.store.finish(_endings(held))
                held = _claim(BATCH)
        app.store.finish(_endings(held))
    return {"claim": claim, "finish": finish, "batch": batch, "size": BATCH}


def drain(seconds: int) -> dict[str, Any]:
    """Jobs a second, in each of several windows, that a worker runs which is starting now.

    What it runs is sent anew, so the level stays.
    """
    ran_before = _await_more_than(stamps.count(place.folder()) + TOP_UP)
    ended_s, topped_up, largest_wal = time.monotonic() + seconds, ran_before, 0
    while time.monotonic() < ended_s:
        time.sleep(LOOK_EVERY_S)
        if stamps.count(place.folder()) - topped_up >= TOP_UP:
            _send(TOP_UP)
            topped_up += TOP_UP
        largest_wal = max(largest_wal, _wal_bytes())
    times_ns = stamps.read(place.folder())[ran_before:]
    return {"per_s": _rates(list(times_ns)), "wal_bytes": largest_wal}


def _await_more_than(count: int) -> int:
    deadline_s = time.monotonic() + START_WITHIN_S
    while (now := stamps.count(place.folder())) <= count:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"the worker has run {now} jobs within {START_WITHIN_S} s, not {count}")
        time.sleep(LOOK_EVERY_S)
    return now


def _rates(times_ns: list[int]) -> list[float]:
    """Runs a second in each window."""
    size = len(times_ns) // WINDOWS
    windows = [times_ns[size * n : size * (n + 1)] for n in range(WINDOWS)]
    return [(size - 1) * 1e9 / (max(window) - min(window)) for window in windows]


def finish(count: int) -> dict[str, float]:
    """Run so many jobs to their end, as far as the store can tell; how many a second."""
    done, started_s = 0, time.perf_counter()
    with _registered():
        while done < count and (taken := _claim(min(FINISH, count - done))):
            app.store.finish(_endings(taken))
            app.store.upkeep()
            done += len(taken)
    return {"per_s": done / (time.perf_counter() - started_s)}


def sizes(_: int) -> dict[str, float]:
    """What is on the disk, in bytes, and the rows that wait for a vacuum."""
    if place.postgres_url() is None:
        return {"bytes": (place.folder() / "treadle.sqlite3").stat().st_size, "wal_bytes": _wal_bytes()}
    import psycopg

    with psycopg.connect(place.postgres_url() or "") as connection:
        row = connection.execute(
            "SELECT pg_database_size(current_database()), pg_current_wal_insert_lsn() - '0/0'::pg_lsn, "
            "(SELECT sum(n_dead_tup) FROM pg_stat_user_tables)"
        ).fetchone()
    assert row is not None
    return {"bytes": int(row[0]), "wal_bytes": int(row[1]), "dead": int(row[2])}


def _wal_bytes() -> int:
    try:
        return os.stat(place.folder() / "treadle.sqlite3-wal").st_size
    except FileNotFoundError:
        return 0


def _send(count: int) -> None:
    app.send_many(job.bind() for _ in range(count))


def _claim(count: int) -> list[Job]:
    return app.store.claim(WORKER, count, clock.now_us(), pool=POOL, starts=True)


def _endings(jobs: list[Job]) -> list[Ending]:
    return [Ending.of(job, Outcome.succeeded("null"), clock.now_us(), 0) for job in jobs]


@contextmanager
def _timed(milliseconds: list[float]) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    milliseconds.append((time.perf_counter() - started_s) * 1e3)


@contextmanager
def _registered() -> Iterator[None]:
    now_us = clock.now_us()
    host = os.uname().nodename
    # A lease that no rescue ends: this worker has no duties.
    row = WorkerRow(
        id=WORKER, host=host, pid=os.getpid(), kind="process",
        started_at_us=now_us, last_seen_at_us=now_us, lease_until_us=now_us + 10**12,
    )  # fmt: skip
    app.store.register(row)
    yield
    app.store.deregister([WORKER])


if __name__ == "__main__":
    main(*sys.argv[1:])
