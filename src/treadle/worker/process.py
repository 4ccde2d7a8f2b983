"""A worker as a process of its own: run until a signal, then drain."""

from functools import partial

from treadle.worker.loop import Worker
from treadle.worker.signals import heeding


def run_process(worker: Worker) -> None:
    """Run a worker in the main thread, and heed the signals that `treadle.worker.signals` lists."""
    with heeding((worker.stop, partial(worker.stop, at_once=True), worker.leave), quiet=worker.quiet):
        worker.run()
