"""What a worker says of itself in its lock file, for `worker status` and `worker top` on the same host."""

from collections.abc import Callable

import msgspec

from treadle.worker.alive import AliveFolder, HeldLock
from treadle.worker.upkeep import Duty

SAY_EVERY_S = 1.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker stands."""

    doing: str
    """`working`, `quiet` or `stopping`."""
    slots: dict[str, int]
    """How many jobs each of its pools runs at once."""
    running: int
    """Jobs in its pools, those that wait there included."""
    stuck: int
    """Runs that go on for too long and cannot be ended."""


def duty_of(lock: HeldLock, look: Callable[[], Standing]) -> Duty:
    """Say it again whenever it has changed."""
    said: list[Standing] = []

    def say() -> None:
        standing = look()
        if said != [standing]:
            lock.note(msgspec.json.encode(standing).decode())
            said[:] = [standing]

    return Duty("tell how the worker stands", SAY_EVERY_S, say)


def standing_of(alive: AliveFolder | None, worker_id: str) -> Standing | None:
    """What a worker of this host says of itself; None for one of another host."""
    said = alive.note(worker_id) if alive is not None else ""
    try:
        return msgspec.json.decode(said, type=Standing)
    except msgspec.DecodeError:
        return None
