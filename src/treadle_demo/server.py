"""The web server of the demo: gunicorn on 127.0.0.1, in a process group of its own, with a temporary store."""

import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from treadle_demo import corpus, views
from treadle_demo.corpus import Corpus
from treadle_demo.errors import DemoError

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 10
APPLICATIONS = {"flask": "treadle_demo.flask_app:app", "django": "django.core.wsgi:get_wsgi_application()"}


class Server(NamedTuple):
    """A running server."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def store_path(self) -> Path:
        return self.folder / views.STORE

    @property
    def input_path(self) -> Path:
        return self.folder / views.INPUT

    @property
    def log(self) -> str:
        """What gunicorn wrote."""
        return (self.folder / "gunicorn.log").read_text(errors="replace")


@contextlib.contextmanager
def running(framework: str, port: int, corpora: dict[str, Corpus]) -> Iterator[Server]:
    """A server as long as the block lasts; `port` 0: a free one. Raises DemoError where the port is in use."""
    with _listening(port) as listener, tempfile.TemporaryDirectory(prefix="treadle-demo-") as name:
        folder = Path(name)
        corpus.write(folder / views.INPUT, corpora)
        environment = _environment(framework, folder)
        if framework == "django":
            _migrate(environment)
        server = Server(_start(framework, listener, folder, environment), listener.getsockname()[1], folder)
        listener.close()
        try:
            yield server
        finally:
            stop(server.process)


def _listening(port: int) -> socket.socket:
    """The socket that gunicorn inherits: a port that is chosen and taken in one step cannot be lost."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise DemoError(f"port {port} {reason}; choose another with --port N, or leave it out for a free one") from None
    return listener


def _environment(framework: str, folder: Path) -> dict[str, str]:
    settings = {"DJANGO_SETTINGS_MODULE": "treadle_demo.django_settings"} if framework == "django" else {}
    return {
        **os.environ,
        **settings,
        "TREADLE_DEMO_FOLDER": str(folder),
        "TREADLE_DEMO_OWNER": str(os.getpid()),
        "TREADLE_DEMO_SECRET": secrets.token_urlsafe(32),
        **quiet_parsing(),
    }


def quiet_parsing() -> dict[str, str]:
    """The variable that keeps other people's code from warning here while it is parsed."""
    return {"PYTHONWARNINGS": "ignore::SyntaxWarning,ignore::DeprecationWarning"}


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"Django's migrate failed: {done.stderr.strip()}")


def _start(
    framework: str, listener: socket.socket, folder: Path, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    fd = listener.fileno()
    command = [
        sys.executable, "-m", "gunicorn", "--config", "python:treadle_demo.gunicorn_config",
        "--bind", f"fd://{fd}", APPLICATIONS[framework],
    ]  # fmt: skip
    with (folder / "gunicorn.log").open("wb") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[fd],
            start_new_session=True,
        )  # fmt: skip


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server and whatever is left of its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    # Until it is reaped nobody else can have its id; after that its group may live on, or be gone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check_alive(server: Server) -> None:
    """Raises DemoError with the end of the log where the server has ended by itself."""
    if server.process.poll() is not None:
        raise DemoError(f"gunicorn ended with status {server.process.returncode}:\n{server.log[-2000:]}")
