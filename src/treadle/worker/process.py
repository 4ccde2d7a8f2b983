"""A worker as a process of its own: run until a signal, then drain."""

from treadle.worker.loop import Worker
from treadle.worker.signals import stopping


def run_process(worker: Worker) -> None:
    """Run a worker in the main thread. SIGTERM or Ctrl-C drains it, a second one interrupts its jobs."""
    with stopping(lambda at_once: worker.stop(at_once=at_once)):
        worker.run()
