"""A rolling upgrade: the code of before the last migration and today's, at work on one store at the same time."""

import io
import sqlite3
import subprocess
import tarfile
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.end_to_end.server import needs_proc, program, serving
from tests.helpers import ROOT, eventually

from treadle.store import migrate

pytestmark = needs_proc

MIGRATIONS = "src/treadle/store/sql/sqlite/migrations"
on_both_stores = pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
SITE = """
import os
from flask import Flask
from flask_worker import FlaskWorker

app = Flask(__name__)
app.config.update(
    SECRET_KEY="for tests",
    WORKER_DATABASE_URL=os.environ.get("JOBS_URL", "sqlite:///jobs.sqlite3"),
    WORKER_EMBEDDED="never",
)
worker = FlaskWorker(app)

@worker.task
def double(number: int) -> int:
    return 2 * number

@app.get("/ping")
def ping():
    return "ok"

@app.post("/send/<int:number>")
def send(number):
    return worker.accepted(worker.send_function(double, number))
"""


def git(*words: str) -> bytes:
    answer = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    if answer.returncode != 0 or not answer.stdout:
        pytest.skip(f"git {' '.join(words[:2])} tells nothing here: {answer.stderr.decode().strip()}")
    return answer.stdout


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> Path:
    """The packages as they were just before the last migration came."""
    last = f"{MIGRATIONS}/{migrate.code_version('sqlite'):04}_*.sql"
    [added, *_] = git("log", "--diff-filter=A", "--format=%H", "--", last).decode().split()
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(git("archive", f"{added}^", "src"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "site_of_test.py").write_text(SITE)
    return tmp_path


def path_of(packages: Path, folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{packages}:{folder}"}


@contextmanager
def web(packages: Path, folder: Path):
    command = ("-m", "flask", "--app", "site_of_test", "run", "--port", "PORT")
    with serving(*command, folder=folder, **path_of(packages, folder)) as server:
        yield server


def worker(packages: Path, folder: Path):
    command = ("-m", "flask", "--app", "site_of_test", "worker", "run", "--concurrency", "1")
    return program(*command, folder=folder, **path_of(packages, folder))


def send(server, count: int = 20) -> list[dict]:
    replies = [server.ask("POST", f"/send/{number}", None, {}) for number in range(count)]
    assert [reply.status for reply in replies] == [202] * count
    return [reply.json for reply in replies]


def results(server, sent: list[dict]) -> list[int]:
    return [server.result(job) for job in sent]


DOUBLES = [2 * number for number in range(20)]
NOW = ROOT / "src"


def is_migrated(url: str) -> bool:
    """Whether the tables are those of today; asked without our code, which would make them so."""
    ask = "SELECT value FROM treadle_meta WHERE name = 'schema_version'"
    connect = psycopg.connect if "postgresql" in url else lambda url: sqlite3.connect(url.removeprefix("sqlite:///"))
    with closing(connect(url)) as connection:
        return int(connection.execute(ask).fetchone()[0]) == migrate.code_version("sqlite")


@on_both_stores
def test_old_processes_go_on_when_the_tables_are_migrated_under_them(before, folder, store_url, look_into):
    """Web process and worker of before serve on when a newer worker has come; then that does what the old web sends."""
    with web(before, folder) as old_web:
        with worker(before, folder) as old_worker:
            assert results(old_web, send(old_web)) == DOUBLES
            assert not is_migrated(store_url)
            with worker(NOW, folder):
                eventually(lambda: is_migrated(store_url), 20)
                assert results(old_web, send(old_web)) == DOUBLES
                assert old_worker.stop() == 0
                assert results(old_web, send(old_web)) == DOUBLES
    jobs = look_into(store_url)
    assert (jobs.accepted_once(), jobs.outcomes()) == (True, {"succeeded": 60})


@on_both_stores
def test_a_new_web_process_may_come_first(before, folder, store_url, look_into):
    """It migrates the tables; a worker of before, which goes on or starts then, does what it sends."""
    with worker(before, folder) as old_worker, web(NOW, folder) as new_web:
        assert results(new_web, send(new_web)) == DOUBLES
        assert is_migrated(store_url)
        assert old_worker.stop() == 0
        with worker(before, folder):
            assert results(new_web, send(new_web)) == DOUBLES
    jobs = look_into(store_url)
    assert (jobs.accepted_once(), jobs.outcomes()) == (True, {"succeeded": 40})
