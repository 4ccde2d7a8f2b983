"""The states of a job and every way from one to another. There is no other list of them.

enqueue ─► blocked ─► ready            a group's whole waits for its parts
           scheduled ─► ready          its time has come
           ready ─► running            claimed by a worker
           running ─► succeeded | failed
           running ─► scheduled        retry after an error, snooze, or the task is not known here yet
           running ─► ready            interrupted or rescued
           blocked | scheduled | ready ─► failed   not begun in time
           blocked | scheduled | ready | running ─► cancelled
           failed | cancelled ─► ready | blocked   sent once more; a whole waits for its parts again
"""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a job stands."""

    BLOCKED = "blocked"
    """Waits for other jobs. Entered when sent; left when the last of them has ended."""
    SCHEDULED = "scheduled"
    """Waits for its time. Entered when sent with `run_after`, by a retry or a snooze; left by promotion."""
    READY = "ready"
    """May be claimed. Entered when sent, promoted, interrupted or rescued; left by a claim."""
    RUNNING = "running"
    """Claimed by a live worker. Left by the end of the run, or by rescue."""
    SUCCEEDED = "succeeded"
    """The function returned. Nothing leads on from here."""
    FAILED = "failed"
    """The function raised, or its process died, more often than it may, or it rejected the job; or it did not begin in
    time. Left only by a redrive."""
    CANCELLED = "cancelled"
    """Cancelled before it ran, or its run was ended since it was to be cancelled. Left only by a redrive."""

    @property
    def is_finished(self) -> bool:
        return self in FINISHED


FINISHED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
LIVE = frozenset(State) - FINISHED
NOT_STARTED = frozenset({State.BLOCKED, State.SCHEDULED, State.READY})

REDRIVEN = frozenset({State.FAILED, State.CANCELLED})
"""The final states from which a job may be sent once more."""


class Transition(NamedTuple):
    """One allowed way from a state to another, and the word for it."""

    verb: str
    source: State | None
    target: State


TRANSITIONS = (
    Transition("enqueue", None, State.BLOCKED),
    Transition("enqueue", None, State.SCHEDULED),
    Transition("enqueue", None, State.READY),
    Transition("unblock", State.BLOCKED, State.READY),
    Transition("fail_part", State.BLOCKED, State.FAILED),
    Transition("promote", State.SCHEDULED, State.READY),
    Transition("claim", State.READY, State.RUNNING),
    Transition("succeed", State.RUNNING, State.SUCCEEDED),
    Transition("fail", State.RUNNING, State.FAILED),
    Transition("reject", State.RUNNING, State.FAILED),
    Transition("retry", State.RUNNING, State.SCHEDULED),
    Transition("snooze", State.RUNNING, State.SCHEDULED),
    Transition("postpone", State.RUNNING, State.SCHEDULED),
    Transition("interrupt", State.RUNNING, State.READY),
    Transition("rescue", State.RUNNING, State.READY),
    Transition("give_up", State.RUNNING, State.FAILED),
    Transition("expire", State.BLOCKED, State.FAILED),
    Transition("expire", State.SCHEDULED, State.FAILED),
    Transition("expire", State.READY, State.FAILED),
    Transition("cancel", State.BLOCKED, State.CANCELLED),
    Transition("cancel", State.SCHEDULED, State.CANCELLED),
    Transition("cancel", State.READY, State.CANCELLED),
    Transition("cancel", State.RUNNING, State.CANCELLED),
    Transition("redrive", State.FAILED, State.READY),
    Transition("redrive", State.FAILED, State.BLOCKED),
    Transition("redrive", State.CANCELLED, State.READY),
    Transition("redrive", State.CANCELLED, State.BLOCKED),
)


def is_allowed(source: State | None, target: State) -> bool:
    """Whether some transition leads from `source` (None: not yet sent) to `target`."""
    return any((t.source, t.target) == (source, target) for t in TRANSITIONS)
