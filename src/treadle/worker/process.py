"""A worker as a process of its own: begin when the store is there, run until a signal, then drain."""

from collections.abc import Callable
from functools import partial

from treadle.clock import SystemClock, sleep_s
from treadle.errors import (
    NetworkFileSystem,
    SchemaMissing,
    SchemaTooNew,
    StoreDamaged,
    StoreError,
    StoreReadOnly,
)
from treadle.events import Event
from treadle.worker.loop import FIRST_PAUSE_S, LONGEST_PAUSE_S, PAUSE_LOOK_S, Worker
from treadle.worker.outage import Outage
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
    outage, pause_s = Outage("starting", SystemClock(), announce), FIRST_PAUSE_S
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
            _sleep(pause_s, stopped)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return None


def _sleep(seconds: float, stopped: list[bool]) -> None:
    while seconds > 0 and not stopped:
        sleep_s(PAUSE_LOOK_S)
        seconds -= PAUSE_LOOK_S
