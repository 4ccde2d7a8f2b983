"""Starting a zygote: which interpreter, with which environment and arguments."""

import os
import pickle
import socket
import subprocess
import sys
from multiprocessing import current_process
from pathlib import Path
from typing import NamedTuple

from treadle.errors import ConfigurationError
from treadle.pools.processes.channel import Channel, Kind
from treadle.pools.processes.pickling import PROTOCOL, main_module
from treadle.pools.processes.surroundings import blas_variables
from treadle.pools.processes.wire import Preparation

CAN_FORK = sys.platform == "linux"
"""Elsewhere forks are not safe (macOS: system libraries start threads), so children are started anew."""


class Recipe(NamedTuple):
    """How to start the zygote of one pool."""

    python: str
    nice: int
    preload: tuple[str, ...]
    held_fds: tuple[int, ...]
    initializer: bytes

    def start(self) -> tuple["subprocess.Popen[bytes]", Channel]:
        """A new zygote, which makes itself ready while we go on. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [self.python, *interpreter_flags(), "-c", program("zygote", theirs.fileno())],
                pass_fds=(theirs.fileno(), *self.held_fds),
                stdin=subprocess.DEVNULL,
                env={**os.environ, **blas_variables(1)},
                # A group of its own: Ctrl-C in the terminal is for the owner, who decides what ends when. Not a
                # session of its own: autogroup scheduling would make nice a no-op between sessions.
                process_group=0,
            )
        channel = Channel(ours)
        channel.send(Kind.PREPARE, pickle.dumps((os.getpid(), self._preparation()), PROTOCOL))
        return process, channel

    def without_preload(self) -> "Recipe":
        return self._replace(preload=())

    def _preparation(self) -> Preparation:
        return Preparation(
            zygote_pid=0,
            can_fork=CAN_FORK,
            nice=self.nice,
            path=list(sys.path),
            argv=list(sys.argv),
            main=main_module(),
            preload=self.preload,
            held_fds=self.held_fds,
            authkey=bytes(current_process().authkey),
            initializer=self.initializer,
        )


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


def program(module: str, *fds: int) -> str:
    """What an interpreter runs to become a zygote or a child."""
    # Its path is that of its owner, but only once it can import what sets it.
    root = str(Path(__file__).parents[3])
    name = f"treadle.pools.processes.{module}"
    return f"import sys; sys.path.append({root!r}); from {name} import main; main{fds!r}"


def interpreter_flags() -> list[str]:
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]
