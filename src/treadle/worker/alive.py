"""Who is alive on this host: a worker holds a `flock` on its own file as long as it lives.

In the file stands what the worker says of itself, for whoever looks.

The kernel lets go of the lock when the last process that holds the open file has ended, however it
ended, and whatever any clock says. A worker hands the open file on to its child processes, so a lock
that can be taken proves more than the worker's death: no run of its jobs goes on anywhere.

Of a worker on another host only its heartbeats in the store tell. How long it has been silent is measured by who
listens, on its own monotonic clock: the clocks of two hosts may differ, and a clock may be set.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakSet

from treadle.clock import US_PER_S, Clock
from treadle.store.contract import WorkerRow


class AliveFolder:
    """The folder of the lock files, beside the store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, name: str) -> "HeldLock | None":
        """Take the lock of this name, or None where somebody holds it."""
        self.path.mkdir(exist_ok=True)
        fd = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return HeldLock(fd, self.path / name)

    def is_held(self, name: str) -> bool | None:
        """Whether somebody holds the lock of this name; None where there is no such file."""
        try:
            fd = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def note(self, name: str) -> str:
        """What the holder of the lock of this name says of itself; empty where nothing is said."""
        try:
            return (self.path / name).read_text()
        except OSError:
            return ""

    def forget(self, name: str) -> None:
        """Remove the file of a worker that is dead."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path / name)


class Silences:
    """How long workers have not been heard of, for one who looks at their rows again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[int, float]] = {}

    def longer_than_leases(self, workers: Iterable[WorkerRow]) -> set[str]:
        """The ids of those whose rows have stood still for as long as their leases were given for."""
        now_s = self._clock.monotonic_s()
        before, self._heard = self._heard, {}
        silent = set()
        for worker in workers:
            last_us, since_s = before.get(worker.id, (None, now_s))
            heard = self._heard[worker.id] = (
                worker.last_seen_at_us,
                since_s if last_us == worker.last_seen_at_us else now_s,
            )
            if now_s - heard[1] > (worker.lease_until_us - worker.last_seen_at_us) / US_PER_S:
                silent.add(worker.id)
        return silent

    def forget(self) -> None:
        """Begin anew: where we could not use the store, others could not either."""
        self._heard.clear()


class HeldLock:
    """A lock that this process holds until `release`, or its end."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self._path = path
        _held.add(self)

    def note(self, text: str) -> None:
        """Say something of oneself."""
        data = text.encode()
        # In this order a reader sees too much rather than too little.
        os.pwrite(self.fd, data, 0)
        os.ftruncate(self.fd, len(data))

    def release(self, *, remove: bool = True) -> None:
        """Let go. `remove`: nobody will ask for this name again."""
        if self.fd < 0:
            return
        if remove:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self.fd)
        self.fd = -1


_held: "WeakSet[HeldLock]" = WeakSet()


def _let_go_after_fork() -> None:
    # A forked process that kept the open file would keep the lock after the worker's death.
    for lock in _held:
        if lock.fd >= 0:
            os.close(lock.fd)
            lock.fd = -1


os.register_at_fork(after_in_child=_let_go_after_fork)
