"""A worker that would try for an hour to tell a store that is away how its jobs ended."""

from tests.end_to_end.apps import core

from treadle import Treadle
from treadle.report.log import log_to_terminal
from treadle.worker.process import run_process

app = Treadle(
    "sqlite:///jobs.sqlite3", registry=core.app.registry, app="tests.end_to_end.apps.core:app", deliver_s=3600
)

if __name__ == "__main__":
    log_to_terminal()
    run_process(app.worker(concurrency=1))
