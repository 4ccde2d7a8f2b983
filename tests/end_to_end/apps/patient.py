"""A worker that would try for an hour to tell a store that is away how its jobs ended."""

from tests.end_to_end.apps import core

from treadle import Treadle
from treadle.report.log import log_to_terminal
from treadle.store import sqlite_file
from treadle.worker.process import run_process

# The other program that holds the lock does not give it up: no need to wait long for that.
sqlite_file.BUSY_TIMEOUT_S = 0.5
app = Treadle(
    "sqlite:///jobs.sqlite3", registry=core.app.registry, app="tests.end_to_end.apps.core:app", deliver_s=3600
)

if __name__ == "__main__":
    log_to_terminal()
    run_process(app.worker(concurrency=1))
