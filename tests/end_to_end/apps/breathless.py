"""A worker whose lease is shorter than its jobs hold the GIL."""

from tests.end_to_end.apps import core

from treadle import Treadle
from treadle.report.log import log_to_terminal
from treadle.worker.process import run_process

app = Treadle(
    "sqlite:///jobs.sqlite3",
    registry=core.app.registry,
    app="tests.end_to_end.apps.core:app",
    heartbeat_s=0.1,
    lease_s=0.3,
)

if __name__ == "__main__":
    log_to_terminal()
    run_process(app.worker(concurrency=1))
