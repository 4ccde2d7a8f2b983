"""From which queues a claim takes, and in what order: in one go, unless some are paused."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from treadle.job import Job


class Turn(NamedTuple):
    """One statement of a claim."""

    queue: str | None
    """None: all, alike."""
    most: int


def turns(queues: Sequence[str], limit: int) -> list[Turn]:
    """Where no queue is paused: `queues` in their order, or all at once."""
    return [Turn(queue, limit) for queue in queues or (None,)]


def turns_around_paused(queues: Sequence[str], limit: int, shares: Mapping[str, int]) -> list[Turn]:
    """Where some are paused: each queue with a ready job has a turn of its own, so that nobody reads over theirs.

    `shares`: how many of the `limit` most urgent jobs each of these queues holds. Another worker may take those first;
    a second round is for what is left then.
    """
    if queues:
        return [Turn(queue, limit) for queue in queues if queue in shares]
    return [*(Turn(queue, share) for queue, share in shares.items()), *(Turn(queue, limit) for queue in shares)]


def lines(queues: Sequence[str], open_queues: Sequence[str] | None) -> list[tuple[str | None, ...]]:
    """What a claim takes from, one after the other, where jobs with a key are among what is ready.

    `queues` in their order; else all, alike, or, where some are paused, those that are not, `open_queues`.
    """
    if queues:
        return [(queue,) for queue in queues]
    return [(None,) if open_queues is None else tuple(open_queues)]


def urgency(job: Job) -> tuple[int, int, str]:
    """The order of a claim: the smallest first."""
    return (-job.priority, job.run_at_us, job.id)
