"""A small web site whose requests compute: in a pool, or in the view itself."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

from flask import Flask, request

from benchmarks.apps import place
from benchmarks.pool_tasks import work_for
from flask_worker import FlaskWorker
from treadle import ProcessPool, ThreadPool

CHILDREN = "TREADLE_BENCH_CHILDREN"
"""How many child processes each pool has."""
IDLE_TIMEOUT_S = "TREADLE_BENCH_IDLE_TIMEOUT_S"
"""After which children leave; where it is not set Treadle's pool is FlaskWorker's own, as by default."""

children = int(os.environ[CHILDREN])
app = Flask(__name__)
app.config.update(
    WORKER_DATABASE_URL=f"sqlite:///{place.folder() / 'jobs.sqlite3'}",
    # Nothing is sent here: only the pool is measured.
    WORKER_EMBEDDED="never",
    WORKER_CONCURRENCY=children,
)
worker = FlaskWorker(app)


@app.get("/ping")
def ping() -> str:
    """The process that answers."""
    return str(os.getpid())


@app.get("/compute")
def compute() -> dict[str, Any]:
    """Compute for `seconds` on as many cores as `how` can; tells which processes did."""
    ran = HOW[request.args["how"]](float(request.args["seconds"]))
    return {"pid": os.getpid(), "ran": ran}


def in_treadle(seconds: float) -> list[int]:
    return list(_pool().map(work_for, [seconds] * children))


def in_executor(seconds: float) -> list[int]:
    return list(_executor().map(work_for, [seconds] * children))


def in_view(seconds: float) -> list[int]:
    return [work_for(seconds)]


def _pool() -> ProcessPool | ThreadPool:
    return _short_lived_pool(float(os.environ[IDLE_TIMEOUT_S])) if IDLE_TIMEOUT_S in os.environ else worker.pool


@cache
def _short_lived_pool(idle_timeout_s: float) -> ProcessPool:
    options: dict[str, Any] = {"idle_timeout_s": idle_timeout_s}
    return ProcessPool(children, **options)


@cache
def _executor() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(children)


HOW: Mapping[str, Callable[[float], list[int]]] = {
    "treadle": in_treadle,
    "executor": in_executor,
    "view": in_view,
}
