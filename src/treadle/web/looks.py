"""A job as its follower may see it: what the status says, and what events tell."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle.clock import US_PER_S
from treadle.handle import JobHandle
from treadle.job import Job, Message
from treadle.states import State
from treadle.store.contract import Part
from treadle.web.words import ENGLISH

CELLS = {
    State.BLOCKED: "w",
    State.SCHEDULED: "w",
    State.READY: "w",
    State.RUNNING: "r",
    State.SUCCEEDED: "s",
    State.FAILED: "f",
    State.CANCELLED: "c",
}
"""A letter for each part: it waits, runs, has succeeded, failed, or was cancelled."""


class Look(NamedTuple):
    """What was read of a job at one moment."""

    row: Job
    messages: Sequence[Message]
    """Those after the number that was asked for."""
    parts: Sequence[Part]
    now_us: int


def look_at(job: JobHandle[Any], now_us: int, after: int = 0) -> Look:
    """What there is to tell of a job, with its messages after this number."""
    return Look(job.row, job.messages_after(after), job.parts, now_us)


def state_of(row: Job, words: dict[str, str], *, debug: bool = False) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        # A job that runs may take a moment to end, or in a thread as long as it likes.
        "cancel_requested": row.cancel_requested_at_us is not None,
        "error": reason(row, words, debug=debug) if row.failure else None,
    }


def progress_of(look: Look) -> dict[str, Any]:
    progress = look.row.progress
    return {
        "done": progress.done,
        "total": progress.total,
        "fraction": progress.fraction,
        "message": progress.message,
    }


def message_of(message: Message) -> dict[str, Any]:
    return {"number": message.number, "body": message.body}


def parts_of(look: Look) -> dict[str, Any] | None:
    """A `send_map` as a whole: a letter for each part, and how many of them ran at once on average."""
    if not look.parts:
        return None
    cells = "".join(CELLS[part.state] for part in look.parts)
    return {"cells": cells, "running": cells.count("r"), "speed_up": _speed_up(look.parts, look.now_us)}


def reason(row: Job, words: dict[str, str] = ENGLISH, *, debug: bool = False) -> str:
    """Why a job failed. An error's own text may hold what the follower must not see: it is for debugging."""
    return str(row.failure) if debug else words["failed"]


def age_s(row: Job, now_us: int) -> float:
    """How long ago it was sent."""
    return max(0.0, (now_us - row.sent_at_us) / US_PER_S)


def _speed_up(parts: Sequence[Part], now_us: int) -> float | None:
    """How long all parts have run, by how long it took; None before any has ended."""
    runs = [(p.started_at_us, p.finished_at_us or now_us) for p in parts if p.started_at_us is not None]
    if not any(part.finished_at_us and part.started_at_us for part in parts):
        return None
    passed_us = max(end for _, end in runs) - min(start for start, _ in runs)
    return round(sum(end - start for start, end in runs) / passed_us, 2) if passed_us > 0 else None
