"""The facts that the machine announces in its own process, and how to listen to them.

The machine itself never logs: `treadle.report.log` listens here, and so may you.
"""

import logging
from collections.abc import Callable

import msgspec

from treadle.job import Job, Outcome
from treadle.states import State


class Event(msgspec.Struct, frozen=True):
    """Something that happened; the class says what."""


class JobEnqueued(Event, frozen=True, gc=False):
    """A job was handed to the store; inside a caller's transaction it may still be rolled back."""

    job: Job


class JobRetried(Event, frozen=True):
    """A job that had failed or was cancelled was sent once more, under its id."""

    job: Job


class NobodyServes(Event, frozen=True):
    """Jobs were sent to a queue that no live worker serves; told once a queue and process."""

    queue: str


class JobStarted(Event, frozen=True, gc=False):
    """A pool took a job."""

    job: Job
    worker_id: str


class JobEnded(Event, frozen=True, gc=False):
    """A run ended and its outcome was accepted by the store."""

    job: Job
    outcome: Outcome
    state: State
    """What became of the job, unless somebody has cancelled it at that moment."""
    worker_id: str


class LateResultRefused(Event, frozen=True):
    """A run ended whose claim was no longer valid; its outcome changed nothing."""

    job: Job
    worker_id: str


class JobsRescued(Event, frozen=True):
    """Jobs of a dead worker were taken back."""

    dead_worker_id: str
    count: int


class JobsExpired(Event, frozen=True):
    """Jobs have failed that had not begun in time: found by a worker, or by a send of their unique key.

    Inside a caller's transaction this may still be rolled back.
    """

    job_ids: tuple[str, ...]


class JobsForgotten(Event, frozen=True):
    """This process has forgotten jobs that somebody named by their labels."""

    forgotten: int
    unfinished: int
    """So many with these labels were left, since they have not ended."""


class QueuePaused(Event, frozen=True):
    """This process has paused a queue: its jobs are not claimed."""

    queue: str


class QueueResumed(Event, frozen=True):
    """This process has let the jobs of a paused queue be claimed again."""

    queue: str


class WorkerStarted(Event, frozen=True):
    """A worker began to claim."""

    worker_id: str
    kind: str
    slots: dict[str, int]


class WorkerQuiet(Event, frozen=True):
    """A worker claims no more, and goes on until it is stopped."""

    worker_id: str
    running: int


class WorkerDraining(Event, frozen=True):
    """A worker claims no more and waits for what runs."""

    worker_id: str
    running: int


class WorkerStopped(Event, frozen=True):
    """A worker is gone; nothing of it runs any more."""

    worker_id: str


class StoreAway(Event, frozen=True):
    """A worker cannot use its store; told once, until it can again."""

    worker_id: str
    error: BaseException


class StoreBack(Event, frozen=True):
    """A worker can use its store again; what it kept meanwhile is delivered."""

    worker_id: str
    away_s: float


class LeaseLost(Event, frozen=True):
    """A worker found that others had taken it for dead; it is known again, its old runs no longer count."""

    worker_id: str


class MessagesDropped(Event, frozen=True):
    """Jobs sent more messages while the store was away than a worker keeps; the newest of them are lost."""

    worker_id: str
    count: int


class JobStuck(Event, frozen=True):
    """A run in this process goes on for too long and cannot be ended; told once, with where it is."""

    job: Job
    worker_id: str
    run_s: float
    stack: str
    is_replaced: bool
    """Another job has got its slot."""


class StuckJobEnded(Event, frozen=True):
    """A run that was stuck has ended after all."""

    job: Job
    worker_id: str
    run_s: float


class DutyFailed(Event, frozen=True):
    """Something that a worker does again and again failed; it will be tried again."""

    duty: str
    error: BaseException


Listener = Callable[[Event], None]


class Events:
    """Who listens. A listener runs in the thread that announces, so it must be quick."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event from now on; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def announce(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                # A listener is a guest: it must harm neither the machine nor the others.
                logging.getLogger("treadle").exception("a listener raised at %s", type(event).__name__)
