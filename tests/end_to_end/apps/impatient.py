"""A worker that waits for nothing when it is stopped: the application of `core` with `drain_s=0`."""

from tests.end_to_end.apps import core

from treadle.worker.process import run_process

if __name__ == "__main__":
    run_process(core.app.worker(drain_s=0))
