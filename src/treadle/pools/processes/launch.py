"""Starting a child: which interpreter, with which arguments, and what it is told first."""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from treadle.errors import ConfigurationError
from treadle.pools.processes.channel import Channel, Frame, Kind
from treadle.pools.processes.pickling import PROTOCOL, dump_value, main_module


class Preparation(NamedTuple):
    """What a child does before its first call."""

    owner_pid: int
    nice: int
    path: list[str]
    argv: list[str]
    folder: str
    main: dict[str, str] | None
    held_fds: tuple[int, ...]
    """Descriptors that the child keeps open as long as it lives, and hands on to nobody."""
    initializer: bytes
    """A pickled call, read only once `path` is in force."""


class Recipe(NamedTuple):
    """How to start the children of one pool."""

    python: str
    nice: int
    initializer: bytes
    held_fds: tuple[int, ...] = ()

    def start(self) -> tuple["subprocess.Popen[bytes]", Channel]:
        """A new child, which makes itself ready while we go on."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [self.python, *_interpreter_flags(), "-c", _program(theirs.fileno())],
                pass_fds=(theirs.fileno(), *self.held_fds),
                stdin=subprocess.DEVNULL,
                # A group of its own: Ctrl-C in the terminal is for the owner, who decides what ends when;
                # and a kill reaches what the child started. Not a session of its own: autogroup
                # scheduling would make nice a no-op between sessions.
                process_group=0,
            )
        channel = Channel(ours)
        channel.send(Frame(Kind.PREPARE, 0, pickle.dumps(self._preparation(), PROTOCOL)))
        return process, channel

    def _preparation(self) -> Preparation:
        return Preparation(
            owner_pid=os.getpid(),
            nice=self.nice,
            path=list(sys.path),
            argv=list(sys.argv),
            folder=str(Path.cwd()),
            main=main_module(),
            held_fds=self.held_fds,
            initializer=self.initializer,
        )


def recipe(
    *,
    python: str | None,
    nice: int,
    initializer: Callable[..., Any] | None,
    initargs: tuple[Any, ...],
    held_fds: tuple[int, ...],
) -> Recipe:
    """Raises Unpicklable for an initializer that cannot travel, ConfigurationError without an interpreter."""
    first_call = dump_value((initializer, initargs) if initializer else None, "the initializer")
    return Recipe(find_python(python), nice, first_call, held_fds)


def find_python(setting: str | None = None) -> str:
    """The interpreter for children: the setting, else this one, else the one of this installation."""
    if setting is not None:
        return _checked(setting, "the setting 'python' (WORKER_PYTHON)")
    # Inside a server such as uWSGI, sys.executable is that server.
    if sys.executable and Path(sys.executable).name.lower().startswith(("python", "pypy")):
        return sys.executable
    return _checked(str(Path(sys.exec_prefix) / "bin" / "python3"), "this installation's interpreter")


def _checked(path: str, what: str) -> str:
    if not os.access(path, os.X_OK):
        raise ConfigurationError(
            f"{what} is {path!r}, which is not a program; set WORKER_PYTHON to the interpreter that runs "
            "the application"
        )
    return path


def _program(fd: int) -> str:
    # The child's path is that of its owner, but only once it can import what sets it.
    root = str(Path(__file__).parents[3])
    return f"import sys; sys.path.append({root!r}); from treadle.pools.processes.child import main; main({fd})"


def _interpreter_flags() -> list[str]:
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]
