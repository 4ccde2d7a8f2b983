"""`kill -9` of whatever process there is, under load."""

import http.client
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event

from tests.end_to_end.faults.checker import assert_nothing_is_lost, is_all_done
from tests.end_to_end.faults.conftest import TARGET
from tests.end_to_end.faults.processes import Killer, Service
from tests.end_to_end.server import Server, needs_proc, serving
from tests.helpers import eventually, running

pytestmark = needs_proc

IS_SOAK = "TREADLE_SOAK" in os.environ
SECONDS = 60 if IS_SOAK else 4
BETWEEN_KILLS_S = 0.15
POISONOUS = 1000 if IS_SOAK else 100
SITE = "tests.end_to_end.apps.faults_site:app"


@contextmanager
def client(server: Server, journal: Path) -> Iterator[list[str]]:
    """Sends jobs through a server that is not always there; gives the ids of those that were answered with 202."""
    sent: list[str] = []
    is_over = Event()

    def send() -> None:
        while not is_over.is_set():
            # A server that has just been killed answers nothing: then nothing was promised, either.
            with suppress(OSError, http.client.HTTPException):
                reply = server.post("/send/work", [str(journal), f"{time.time_ns()}", len(sent) % 5])
                sent.extend([reply.json["id"]] if reply.status == 202 else [])

    with running(send, is_over.set):
        yield sent


def test_kills_at_random_lose_nothing(jobs, journal, tmp_path):
    """Children, zygotes, workers and the web processes that send: what was answered with 202 is done, and told once."""
    with ExitStack() as stack:
        command = ("-m", "treadle.cli", "worker", "run", TARGET)
        workers = [stack.enter_context(Service(*command, folder=tmp_path)) for _ in range(2)]
        web = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "-w", "2", SITE)
        server = stack.enter_context(serving(*web, folder=tmp_path))
        killer = Killer(workers, server)
        with client(server, journal) as one, client(server, journal) as other:
            eventually(lambda: jobs.have_succeeded(20), 30)
            deadline_s = time.monotonic() + SECONDS
            while time.monotonic() < deadline_s:
                killer.strike()
                Event().wait(BETWEEN_KILLS_S)
        eventually(lambda: is_all_done(jobs), 60)
        sent = [*one, *other]
        assert_nothing_is_lost(jobs, journal, sent)
    print(f"{len(sent)} jobs sent, runs ended {dict(jobs.outcomes())}, killed {dict(killer.kills)}")
    assert len(killer.kills) == 4
    assert {job.state for job in jobs.rows()} == {"succeeded"}
    assert jobs.outcomes()["crashed"] > 0


def test_jobs_that_kill_their_process_harm_no_others(app, jobs, journal, worker):
    """Many of them: each fails after its two crashes; the others among them succeed, and are blamed for nothing."""
    from tests.end_to_end.apps.faults import die, work

    poison = [die.bind(str(journal), f"die-{number}") for number in range(POISONOUS)]
    good = [work.bind(str(journal), f"good-{number}", 0) for number in range(POISONOUS)]
    handles = app.send_many([call for pair in zip(poison, good, strict=True) for call in pair])
    with worker():
        eventually(lambda: is_all_done(jobs), POISONOUS)
    assert_nothing_is_lost(jobs, journal, [handle.id for handle in handles])
    ended = {(job.task.rpartition(".")[2], job.state, job.crashes) for job in jobs.rows()}
    assert ended == {("crash_with", "failed", 2), ("work", "succeeded", 0)}
