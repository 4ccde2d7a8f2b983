"""A worker as a process of its own: begin when the store is there, run until a signal, then drain."""

from collections.abc import Callable
from functools import partial

from treadle.clock import SystemClock
from treadle.errors import (
    NetworkFileSystem,
    SchemaMissing,
    SchemaTooNew,
    StoreDamaged,
    StoreError,
    StoreReadOnly,
)
from treadle.events import Event
from treadle.worker.loop import Worker
from treadle.worker.outage import Outage, Pauses
from treadle.worker.signals import heeding

WRONG = (SchemaMissing, SchemaTooNew, NetworkFileSystem, StoreDamaged, StoreReadOnly)
"""What somebody must mend; it does not pass by itself."""


def run_process(worker: Worker) -> None:
    """Run a worker in the main thread, and heed the signals that `treadle.worker.signals` lists."""
    with heeding((worker.stop, partial(worker.stop, at_once=True), worker.leave), quiet=worker.quiet):
        worker.run()


def once_possible(make: Callable[[], Worker], announce: Callable[[Event], None]) -> Worker | None:
    """The worker that `make` gives, as soon as its store is there; None where a signal comes first.

    A process that ended instead would be started again and again by its service manager. Raises what does
    not pass by itself.
    """
    stopped: list[bool] = []
    outage, pauses = Outage("starting", SystemClock(), announce), Pauses(lambda: len(stopped))
    with heeding([lambda: stopped.append(True)], quiet=lambda: None):
        while not stopped:
            try:
                worker = make()
            except StoreError as error:
                if isinstance(error, WRONG) or type(error) is StoreError:
                    raise
                outage.meets("start", error)
            else:
                outage.gets_through("start")
                return worker
            pauses.wait()
    return None
