"""The main program of a zygote: import what all children need, then fork them, kill them, and tell of their deaths.

It is started and not forked, so it never inherits a thread or a lock of a web process. It has one thread and runs no
user code after the preload, so a fork of it is safe, and it always answers.

    owner ── FORK, KILL ──► zygote ── fork ──► child, leader of a process group of its own
      ◄── FORKED, DIED ──      ◄── SIGCHLD ──

It is the reaper: only when it has killed what a dead child had started does it reap the child (until then nobody else
can have its number) and tell the owner. When the owner's socket ends, it kills every child's group and ends. When it
dies itself, the kernel kills its children.

It refuses to fork once a preloaded module has started threads (a lock that one of them holds would stay locked in every
child) or opened sockets or databases (which all children would share; an SQLite connection that crosses a fork can
damage its file). A file counts as a database if it is open for both reading and writing.

Where forks are not safe (macOS, whose system libraries start threads), it starts each child as a program of its own.
What holds there in another way: a child takes as long to start as an interpreter, and imports what is preloaded by
itself, so nothing of that is shared in memory, and no preload is unsafe. What does not hold: the kernel does not kill
children whose zygote was killed, they end when they next read from their owner; and no memory limit is kept.
"""

import contextlib
import fcntl
import gc
import os
import pickle
import select
import signal
import socket
import stat
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from treadle.pools import current
from treadle.pools.processes import pickling, surroundings
from treadle.pools.processes.arena import nameless_file
from treadle.pools.processes.channel import Channel, Frame, Kind
from treadle.pools.processes.child import run_child
from treadle.pools.processes.launch import interpreter_flags, program
from treadle.pools.processes.wire import MAY_FAIL, Preparation


def main(fd: int) -> None:
    """The program: be told, make ready, serve."""
    os.set_inheritable(fd, False)
    channel = Channel(socket.socket(fileno=fd))
    owner_pid, preparation = pickling.load(channel.receive()[3])
    # A module may take long to import, or hang; there are no children to end yet.
    surroundings.end_with_parent(owner_pid)
    try:
        why_unsafe = _make_ready(preparation)
    except BaseException as error:
        _leave(channel, Kind.BROKEN, pickling.dump_error(error))
    surroundings.outlive_parent()
    if why_unsafe:
        _leave(channel, Kind.UNSAFE, pickle.dumps(why_unsafe))
    Zygote(channel, preparation).serve()


def _leave(channel: Channel, kind: Kind, why: bytes) -> NoReturn:
    """Say why, and end at once: a thread that a preloaded module has left would hold the process up."""
    channel.send(kind, why)
    sys.stdout.flush()
    os._exit(0)


def _make_ready(preparation: Preparation) -> str:
    """Import what is to be preloaded; returns why there must be no fork then, or nothing."""
    current.is_child = True
    sys.path[:] = preparation.path
    sys.argv[:] = preparation.argv
    surroundings.ignore_stopping_signals()
    for held in preparation.held_fds:
        os.set_inheritable(held, False)
    if not preparation.can_fork:
        return ""
    open_before = _not_to_be_shared()
    for name in preparation.preload:
        surroundings.preload(name)
        if why := _why_unsafe(name.removesuffix(MAY_FAIL), open_before):
            return why
    return ""


def _why_unsafe(name: str, open_before: set[str]) -> str:
    if threads := len(list(Path("/proc/self/task").iterdir())) - 1:
        return f"the import of {name!r} starts threads ({threads})"
    opened = _not_to_be_shared() - open_before
    if opened:
        # What nobody holds any more may only not be closed yet.
        gc.collect()
        opened &= _not_to_be_shared()
    if sockets := sum(link.startswith("socket:") for link in opened):
        return f"the import of {name!r} opens sockets ({sockets})"
    if opened:
        return f"the import of {name!r} opens {min(opened)} for reading and writing, as a database is"
    return ""


def _not_to_be_shared() -> set[str]:
    """The sockets that are open here, and the files that are open for both reading and writing."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        # The descriptor of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            link = str(fd.readlink())
            if link.startswith("socket:") or _is_open_database(int(fd.name), link):
                found.add(link)
    return found


def _is_open_database(fd: int, link: str) -> bool:
    # A file without a name is some library's own memory.
    if link.startswith("/memfd:") or link.endswith(" (deleted)") or not stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


class Zygote:
    """Forks, kills and reaps as its owner says."""

    def __init__(self, channel: Channel, preparation: Preparation) -> None:
        self._channel = channel
        self._preparation = preparation._replace(zygote_pid=os.getpid())
        self._pids: dict[int, int] = {}
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)

    def serve(self) -> None:
        """Until the owner is gone."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        # What is here by now lives as long as the process: a collection in a child must not touch, and so copy, it.
        gc.freeze()
        self._channel.send(Kind.READY)
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._woken in ready:
                    os.read(self._woken, 4096)
                    self._reap()
                if self._channel.fileno() in ready:
                    self._obey(self._channel.receive_waiting())
        except (EOFError, OSError):
            self._kill_all()

    def _obey(self, frames: list[Frame]) -> None:
        for kind, _, _, body in frames:
            number = pickling.load(body)
            if kind == Kind.FORK:
                self._make_child(number, self._channel.fds.popleft(), self._channel.fds.popleft())
            else:
                self._kill(number)

    def _make_child(self, number: int, channel_fd: int, permits_fd: int) -> None:
        try:
            make = self._fork if self._preparation.can_fork else self._start
            pid = self._pids[number] = make(channel_fd, permits_fd)
        except OSError as error:
            self._channel.send(Kind.DIED, pickle.dumps((number, None, str(error))))
            return
        finally:
            os.close(channel_fd)
            os.close(permits_fd)
        # The child does it too: neither may go on before it is done.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._channel.send(Kind.FORKED, pickle.dumps((number, pid)))

    def _fork(self, channel_fd: int, permits_fd: int) -> int:
        pid = os.fork()
        if not pid:
            self._be_child(channel_fd, permits_fd)
        return pid

    def _be_child(self, channel_fd: int, permits_fd: int) -> NoReturn:
        try:
            # Not a session of its own: autogroup scheduling would make nice a no-op between sessions.
            os.setpgid(0, 0)
            surroundings.end_with_parent(self._preparation.zygote_pid)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._woken, self._waker):
                os.close(fd)
            self._channel.close()
            run_child(Channel(socket.socket(fileno=channel_fd)), permits_fd, self._preparation)
        except BaseException:
            traceback.print_exc()
        finally:
            # Whatever happens, no child becomes a second zygote.
            os._exit(1)

    def _start(self, channel_fd: int, permits_fd: int) -> int:
        preparation_fd = nameless_file()
        with os.fdopen(preparation_fd, "w+b") as file:
            pickle.dump(self._preparation, file)
            file.seek(0)
            fds = (channel_fd, permits_fd, preparation_fd)
            process = subprocess.Popen(
                [sys.executable, *interpreter_flags(), "-c", program("child", *fds)],
                pass_fds=(*fds, *self._preparation.held_fds),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        process.returncode = 0  # It is reaped by number, like those that were forked.
        return process.pid

    def _kill(self, number: int) -> None:
        # It may be dead already; it was not reaped, so the number is its own.
        if number in self._pids:
            with contextlib.suppress(OSError):
                os.killpg(self._pids[number], signal.SIGKILL)

    def _reap(self) -> None:
        for number, pid in list(self._pids.items()):
            if _is_dead_unreaped(pid):
                # Now, while the number is still taken, so that it can mean no stranger's group.
                self._kill(number)
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                del self._pids[number]
                self._channel.send(Kind.DIED, pickle.dumps((number, os.waitstatus_to_exitcode(status), "")))

    def _kill_all(self) -> None:
        for number in self._pids:
            self._kill(number)


def _is_dead_unreaped(pid: int) -> bool:
    """Whether a child is dead; False also where that cannot be asked without reaping it (macOS before Python 3.13)."""
    if not hasattr(os, "waitid"):
        return False
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
