"""The owner's side of its zygote: started when the first child is wanted, ended when there is none."""

import contextlib
import os
import pickle
import select
import signal
import subprocess
from collections.abc import Iterable

from treadle.pools.processes.channel import Frame, Kind
from treadle.pools.processes.launch import Recipe
from treadle.pools.processes.member import Member

PATIENCE_S = 2.0
"""How long a zygote that was let go may take to end."""


class Forker:
    """A zygote. `kill` may be called from any thread that holds the crew's lock; all else belongs to the listener."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises OSError where it cannot be started."""
        self.process, self._channel = recipe.start()

    def fileno(self) -> int:
        return self._channel.fileno()

    def fork(self, member: Member) -> None:
        """Ask for a child; FORKED or DIED tells what came of it."""
        fds = (member.child_end.fileno(), member.permits.reader)
        self._send(Kind.FORK, member.number, fds)
        member.child_end.close()

    def kill(self, member: Member) -> None:
        """End a child and what it has started; DIED follows."""
        self._send(Kind.KILL, member.number)

    def _send(self, kind: Kind, number: int, fds: tuple[int, ...] = ()) -> None:
        # A zygote that is gone will be found so by the listener.
        with contextlib.suppress(OSError):
            self._channel.send(kind, pickle.dumps(number), fds=fds)

    def frames(self) -> list[Frame]:
        """What it has said. Raises EOFError when it is gone."""
        return self._channel.receive_waiting()

    def stop(self, *, at_once: bool = False) -> None:
        """Let it end, as it does when its socket ends, with all children that are left; `at_once`: kill it."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0 if at_once else PATIENCE_S)
        self.process.kill()
        self.process.wait()

    def abandon(self) -> None:
        """In a forked process: it is the parent's."""
        self._channel.close()
        self.process.returncode = 0


def end_orphans(pids: Iterable[int]) -> None:
    """Make sure that children are dead whose zygote is.

    The kernel was told to kill them; this kills what they had started, and waits: their calls may run elsewhere next.
    """
    for pid in pids:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        _await_end(pid)


def _await_end(pid: int) -> None:
    if not hasattr(os, "pidfd_open"):
        return
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(PATIENCE_S * 1000)
    os.close(fd)
