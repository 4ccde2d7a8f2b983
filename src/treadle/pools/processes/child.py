"""The main program of a child: make ready, then run one call after the other until the socket ends.

There is one thread here. A second one that watches the owner could not run while C code holds the GIL,
so it is the kernel that ends a child with its owner: PR_SET_PDEATHSIG, and the end of the socket.
"""

import contextlib
import ctypes
import os
import random
import signal
import socket
import sys
import threading
from typing import Any

from treadle.pools import current
from treadle.pools.contract import reporting_to
from treadle.pools.processes import pickling
from treadle.pools.processes.channel import Channel, Frame, Kind
from treadle.pools.processes.launch import Preparation

PR_SET_PDEATHSIG = 1


def main(fd: int) -> None:
    # The owner may close its end at any time: then there is nobody left to tell.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError), socket.socket(fileno=fd) as ours:
        os.set_inheritable(fd, False)
        current.is_child = True
        channel = Channel(ours)
        try:
            prepare(pickling.load(channel.receive().body))
        except BaseException as error:
            channel.send(Frame(Kind.BROKEN, 0, pickling.dump_error(error)))
            return
        channel.send(Frame(Kind.READY, 0, b""))
        serve(channel)


def prepare(preparation: Preparation) -> None:
    end_with_owner(preparation.owner_pid)
    hold(preparation.held_fds)
    os.nice(preparation.nice)
    os.chdir(preparation.folder)
    sys.path[:] = preparation.path
    sys.argv[:] = preparation.argv
    pickling.MainFinder.main = preparation.main
    random.seed()
    first_call = pickling.load(preparation.initializer)
    if first_call is not None:
        initializer, initargs = first_call
        initializer(*initargs)


def end_with_owner(owner_pid: int) -> None:
    """Have the kernel kill this process when its owner ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner_pid:
        # It had ended before the kernel was told.
        os._exit(1)


def hold(fds: tuple[int, ...]) -> None:
    """Keep descriptors open as long as this process lives, and no longer: no process that it starts has them."""
    for fd in fds:
        os.set_inheritable(fd, False)
    held = list(fds)
    os.register_at_fork(after_in_child=lambda: _let_go(held))


def _let_go(held: list[int]) -> None:
    # Once: by the next fork the number may be another file's.
    while held:
        os.close(held.pop())


def serve(channel: Channel) -> None:
    sending = threading.Lock()

    def send(frame: Frame) -> None:
        # The function may report from threads of its own.
        with sending:
            channel.send(frame)

    while True:
        try:
            call = channel.receive()
        except (EOFError, OSError):
            return
        reporter = lambda value: send(Frame(Kind.PROGRESS, call.call_id, _dump_report(value)))  # noqa: B023,E731
        with reporting_to(reporter):
            kind, body = run(call)
        _flush_output()
        send(Frame(kind, call.call_id, body))


def run(call: Frame) -> tuple[Kind, bytes]:
    """What a call gives, as the frame that tells it."""
    try:
        function, args, kwargs = pickling.load(call.body)
        value = function(*args, **kwargs)
        return Kind.RESULT, pickling.dump_value(value, f"the result of {_name(function)}")
    except BaseException as error:
        # SystemExit and KeyboardInterrupt too: they end the call and not the child, as in concurrent.futures.
        return Kind.ERROR, pickling.dump_error(error)


def _flush_output() -> None:
    """What a call printed is seen when it ends, and not when the buffer is full."""
    # The call may have closed the stream.
    with contextlib.suppress(ValueError, OSError, AttributeError):
        sys.stdout.flush()


def _dump_report(value: Any) -> bytes:
    return pickling.dump_value(value, "a reported value")


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
