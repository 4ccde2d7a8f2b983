"""Real programs for the tests: each in a process group of its own, and ended by its id whatever happens."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.end_to_end.jobs import lines
from tests.helpers import ROOT, eventually

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 20.0


class Program:
    """A running command. Its folder is its home and where it was started; its output goes into a file there."""

    def __init__(self, command: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> None:
        self.command = command
        self._log = folder / f"output-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log, _default_interrupt():
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=folder, env=_environment(folder, environment),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """To this process alone."""
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: SIGINT to all of the group."""
        os.killpg(self.pid, signal.SIGINT)

    def ended(self) -> int:
        """Wait for the end, and give the exit status."""
        return self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """End it as a service manager does, and give the exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """What no program can answer, to it and to all of its group."""
        # As long as it is not reaped nobody else can have its id, nor its group's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server(Program):
    """A program that answers on a port."""

    port: int

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: Any) -> Reply:
        return self.ask("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def send(self, task: str, *arguments: Any) -> dict[str, Any]:
        """Have the application send a job; gives what it was answered with."""
        reply = self.post(f"/send/{task}", arguments)
        assert reply.status == 202, (reply.status, reply.body)
        return reply.json

    def send_hold(self, journal: Path, gate: Path) -> dict[str, Any]:
        """A job that runs until the gate opens; it has begun, and left its process id in the journal."""
        job = self.send("hold", str(journal), str(gate))
        eventually(lambda: lines(journal), 20)
        return job

    def ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Reply:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    def result(self, job: Mapping[str, Any]) -> Any:
        """Follow a job through its links until it has a result, as a browser would."""
        reply = eventually(lambda: (r := self.get(job["urls"]["result"])).status != 202 and r, 20)
        assert reply.status == 200, (reply.status, reply.body)
        return reply.json

    def is_answering(self) -> bool:
        assert self.is_running, f"it ended with status {self.process.returncode}"
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/ping").status == 200
        return False


@contextlib.contextmanager
def program(*command: str, folder: Path, kind: type[Program] = Program, **environment: str) -> Iterator[Any]:
    """`python COMMAND…` as long as the block lasts; then it is stopped, and killed if it does not stop."""
    running = kind(command, folder, environment)
    try:
        yield running
        if running.is_running:
            running.stop()
    finally:
        running.kill()
        # pytest shows it where the test fails.
        print(f"--- {' '.join(command)}: status {running.process.returncode}\n{running.output}")


@contextlib.contextmanager
def serving(*command: str, folder: Path, **environment: str) -> Iterator[Server]:
    """The same for a server; PORT in the command stands for a free one. It answers when the block begins."""
    port = free_port()
    words = tuple(word.replace("PORT", str(port)) for word in command)
    with program(*words, folder=folder, kind=Server, PORT=str(port), **environment) as server:
        server.port = port
        eventually(server.is_answering, START_TIMEOUT_S)
        yield server


def free_port() -> int:
    """A port that nobody else is given for the next minute: it has just been closed, and waits out TIME_WAIT."""
    with socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        # Who closes first is the one that waits.
        accepted.close()
        client.recv(1)
        return int(listener.getsockname()[1])


def at_once(function: Any, items: Any, clients: int = 8) -> list[Any]:
    """`function` of each item, by so many clients at once."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(function, items, timeout=60))


def _environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what a developer's shell or this test run says to Flask, Django or pytest."""
    foreign = ("FLASK_", "WORKER_", "DJANGO_", "PYTEST_", "WERKZEUG_", "GUNICORN_", "DATABASE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "HOME": str(folder)}
    return {**kept, **ours, **more}


@contextlib.contextmanager
def _default_interrupt() -> Iterator[None]:
    """Where this test run itself was started in the background it ignores SIGINT, and a program would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def kill_process(pid: int) -> int:
    """Kill one process at once; gives the time of it as the store counts, in microseconds."""
    moment_us = time.time_ns() // 1000
    os.kill(pid, signal.SIGKILL)
    return moment_us


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
