"""A real site, examples/csv_importer: web processes, a worker process and PostgreSQL, over HTTP."""

import contextlib
import shutil

import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.end_to_end.server import at_once, needs_proc, program, serving
from tests.helpers import ROOT, eventually

pytestmark = needs_proc

SERVERS = {
    "gunicorn": ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "-w", "2", "wsgi"),
    "uvicorn": ("-m", "uvicorn", "--port", "PORT", "--log-level", "warning", "asgi:application"),
}
PATHS = {"gunicorn": "/imports", "uvicorn": "/async/imports"}
LIBPQ = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "options": "PGOPTIONS",
}
ROWS = 1000


@pytest.fixture
def site(tmp_path, postgres_url):
    """A copy of the example, migrated, and what it finds in its environment."""
    folder = tmp_path / "site"
    shutil.copytree(ROOT / "examples/csv_importer", folder)
    address = conninfo_to_dict(postgres_url)
    environment = {LIBPQ[name]: str(value) for name, value in address.items()} | {"SECRET_KEY": "for tests only"}
    with program("manage.py", "migrate", folder=folder, **environment) as migrate:
        assert migrate.ended() == 0
    return {"folder": folder, **environment}


@contextlib.contextmanager
def a_worker(site):
    with program("manage.py", "worker", "run", "--concurrency", "2", **site) as worker:
        yield worker


def a_file(first):
    """Names of people, each of its own."""
    return "email,name\n" + "".join(f"{n}@example.org,Number {n}\n" for n in range(first, first + ROWS))


@pytest.mark.parametrize("server", SERVERS)
def test_files_are_imported_once_whatever_dies(site, server):
    """Eight files of as many clients, and a worker that is killed in the middle: each row is there, and each once."""
    with serving(*SERVERS[server], **site) as web:

        def send(number):
            reply = web.ask("POST", PATHS[server], a_file(number * ROWS), {"Content-Type": "text/csv"})
            assert reply.status == 202, reply.body
            return reply.json

        with a_worker(site) as killed:
            jobs = at_once(send, range(8))
            eventually(lambda: web.get("/people").json["people"] > 0)
            killed.kill()
        with a_worker(site):
            assert [web.result(job) for job in jobs] == [{"rows": ROWS}] * 8
        assert web.get("/people").json == {"people": 8 * ROWS, "uploads": 8}
