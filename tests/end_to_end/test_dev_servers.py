"""The other ways to run an application: the servers of development, an ASGI server, Django's site."""

import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.end_to_end import apps
from tests.end_to_end.jobs import lines
from tests.end_to_end.server import at_once, kill_process, needs_proc, program, serving
from tests.helpers import eventually, is_alive

from treadle.clock import US_PER_S

pytestmark = needs_proc

SCRIPT = Path(apps.__path__[0]) / "app.py"
FLASK_RUN = ("-m", "flask", "run", "--port", "PORT")
UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "PORT", "app:asgi")
MANAGE = ("-m", "django")
RUNSERVER = (*MANAGE, "runserver", "PORT")
DJANGO_UVICORN = (*UVICORN[:-1], "django.core.asgi:get_asgi_application", "--factory")
GUNICORN = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "-w", "2", "django.core.wsgi:get_wsgi_application()")
JOBS = 50


@pytest.fixture
def site(tmp_path):
    """A folder with an `app.py`, as a beginner has it."""
    shutil.copy(SCRIPT, tmp_path / "app.py")
    return tmp_path


@pytest.fixture
def site_jobs(site, look_into):
    """The jobs in the place where they are kept without any setting; to be called once the server runs."""
    return lambda: look_into(site / "instance" / "treadle.sqlite3")


def send_and_follow(server, count=JOBS):
    """Jobs sent by many clients at once, each followed to its result."""
    sent = at_once(lambda number: server.send("string_length", "x" * number), range(count))
    assert at_once(server.result, sent) == list(range(count))
    return sent


def fate_of(jobs, job):
    """What became of a job whose server was stopped."""
    [row] = [row for row in jobs.rows() if row.id == job["id"]]
    return row.state, row.attempt, row.crashes, [attempt.outcome for attempt in jobs.attempts().get(row.id, [])]


REFUNDED = ("ready", 0, 0, ["interrupted"])
"""As if it had not run, with the interruption on record."""


# Flask's development server


@pytest.mark.parametrize("command", [FLASK_RUN, ("app.py",)])
def test_a_bare_flask_app_works_at_once(site, site_jobs, command):
    """`flask run` and `python app.py` need nothing else: jobs are kept in the instance folder and run here."""
    with serving(*command, folder=site) as server:
        send_and_follow(server)
        jobs = site_jobs()
        assert jobs.the_worker("embedded").pid == server.pid
    assert jobs.accepted_once()


def test_flask_run_of_a_factory(jobs, tmp_path):
    """A factory that is named to `flask --app` needs no WORKER_APP: its child processes build it from the same name."""
    factory = ("-m", "flask", "--app", "tests.end_to_end.apps.factory:create_app", *FLASK_RUN[2:])
    with serving(*factory, folder=tmp_path, FLASK_WORKER_APP="null") as server:
        send_and_follow(server, 5)
        assert jobs.the_worker("embedded").pid == server.pid


def test_flask_run_computes_now(site):
    """`worker.pool.map` in a view uses child processes under the development server too."""
    with serving(*FLASK_RUN, folder=site) as server:
        assert server.post("/lengths", ["a", "bc", "def"]).json == [1, 2, 3]


@pytest.mark.parametrize("command", [FLASK_RUN, ("app.py",), UVICORN])
def test_ctrl_c_interrupts_with_refund(site, site_jobs, journal, gate, command):
    """Ctrl-C of a server gives its running job back, and leaves no process behind."""
    with serving(*command, folder=site) as server:
        job = server.send_hold(journal, gate)
        jobs = site_jobs()
        server.interrupt()
        server.ended()
    assert fate_of(jobs, job) == REFUNDED
    assert not is_alive(int(lines(journal)[0]))


@pytest.mark.parametrize("command", [FLASK_RUN, ("app.py",), UVICORN])
def test_sigterm_interrupts_with_refund(site, site_jobs, journal, gate, command):
    """SIGTERM of a server that ends by the signal itself gives its running job back all the same."""
    with serving(*command, folder=site) as server:
        job = server.send_hold(journal, gate)
        jobs = site_jobs()
        server.stop()
    eventually(lambda: not is_alive(int(lines(journal)[0])))
    assert fate_of(jobs, job) == REFUNDED


def test_the_reloader_has_one_worker(site, site_jobs):
    """`flask run --debug` has exactly one embedded worker: in the process that serves, not in the one that watches."""
    with serving(*FLASK_RUN, "--debug", folder=site) as server:
        send_and_follow(server)
        jobs = site_jobs()
        [worker] = jobs.workers()
        assert worker.pid == server.post("/states", []).json["pid"] != server.pid
        assert "SECRET_KEY" not in server.output


def test_a_reload_gives_the_running_job_back(site, site_jobs, journal, gate):
    """When the reloader starts the application anew, the running job is interrupted with refund and runs again."""
    with serving(*FLASK_RUN, "--debug", folder=site) as server:
        job = server.send_hold(journal, gate)
        jobs = site_jobs()
        [before] = jobs.workers()
        (site / "app.py").write_text(SCRIPT.read_text() + "# changed\n")
        eventually(lambda: not is_alive(before.pid) and server.is_answering(), 30)
        gate.touch()
        assert server.result(job) == "open"
        eventually(lambda: jobs.the_worker("embedded"))
    assert jobs.outcomes() == {"interrupted": 1, "succeeded": 1}


def test_a_missing_key_is_said_once(site):
    """Without SECRET_KEY the links work, and outside of debug the log says once what to set."""
    with serving(*FLASK_RUN, folder=site) as server:
        send_and_follow(server, 5)
        assert server.output.count("SECRET_KEY is not set") == 1


def test_flask_worker_run_finds_the_app(site, site_jobs):
    """`flask worker run` beside an `app.py` takes the place of the embedded worker, and ends with status 0 at SIGTERM."""
    with serving(*FLASK_RUN, folder=site) as server:
        send_and_follow(server, 1)
        jobs = site_jobs()
        with program("-m", "flask", "worker", "run", folder=site) as worker:
            eventually(lambda: [w.pid for w in jobs.workers()] == [worker.pid], 20)
            send_and_follow(server, 10)
            assert worker.stop() == 0


# An ASGI server around the Flask application


def test_uvicorn(site, site_jobs):
    """Under uvicorn, with asgiref's WsgiToAsgi, one embedded worker runs the jobs, each exactly once."""
    with serving(*UVICORN, folder=site) as server:
        send_and_follow(server)
        jobs = site_jobs()
        assert jobs.the_worker("embedded").pid == server.pid
        assert server.post("/lengths", ["a", "bc"]).json == [1, 2]
    assert jobs.accepted_once()


# Django


@contextmanager
def django_site(folder, *command):
    """A server for the tests' Django site, whose database is migrated."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.django_site.settings",
        "DATABASE_FILE": str(folder / "jobs.sqlite3"),
    }
    with program(*MANAGE, "migrate", "--verbosity", "0", folder=folder, **environment) as migrate:
        assert migrate.ended() == 0, migrate.output
    with serving(*command, folder=folder, **environment) as server:
        server.environment = environment
        yield server


@contextmanager
def manage_py_worker(folder, server, jobs):
    """`manage.py worker run` beside a server; it is at work, and no embedded worker is."""
    with program(*MANAGE, "worker", "run", folder=folder, **server.environment) as worker:
        eventually(lambda: worker.pid in [w.pid for w in jobs.workers()] and not jobs.workers("embedded"), 20)
        yield worker


@pytest.mark.parametrize("command", [RUNSERVER, GUNICORN])
def test_a_django_site_works_at_once(tmp_path, look_into, command):
    """`runserver`, with its reloader, and gunicorn need no worker process: exactly one of theirs runs the jobs."""
    with django_site(tmp_path, *command) as server:
        send_and_follow(server)
        jobs = look_into(tmp_path / "jobs.sqlite3")
        [worker] = jobs.workers()
        assert worker.pid != server.pid
    assert jobs.accepted_once()
    assert jobs.outcomes() == {"succeeded": JOBS}


def test_uvicorn_ends_though_a_browser_follows_a_job(tmp_path, journal, gate):
    """SIGTERM ends the streams of events, for which uvicorn would wait."""
    with django_site(tmp_path, *DJANGO_UVICORN) as server:
        job = server.send_hold(journal, gate)
        with urlopen(f"http://127.0.0.1:{server.port}{job['urls']['events']}", timeout=20) as stream:
            assert stream.readline().startswith(b"retry:")
            server.stop()
            assert b"event: state" in stream.read()


def test_gunicorn_gives_the_job_of_a_django_site_back(tmp_path, look_into, journal, gate):
    """SIGTERM of gunicorn interrupts a Django site's running job with refund."""
    with django_site(tmp_path, *GUNICORN) as server:
        job = server.send_hold(journal, gate)
        jobs = look_into(tmp_path / "jobs.sqlite3")
        assert server.stop() == 0
    assert fate_of(jobs, job) == REFUNDED


def test_ctrl_c_of_runserver_gives_the_job_back(tmp_path, look_into, journal, gate):
    """Ctrl-C of `runserver --noreload` gives the running job back."""
    with django_site(tmp_path, *RUNSERVER, "--noreload") as server:
        job = server.send_hold(journal, gate)
        jobs = look_into(tmp_path / "jobs.sqlite3")
        server.interrupt()
        server.ended()
    assert fate_of(jobs, job) == REFUNDED


def test_manage_py_worker_takes_the_place_of_the_embedded_one(tmp_path, look_into):
    """Beside `manage.py worker run` no web process runs jobs; after SIGTERM the web processes do it again."""
    with django_site(tmp_path, *GUNICORN) as server:
        send_and_follow(server, 8)
        jobs = look_into(tmp_path / "jobs.sqlite3")
        with manage_py_worker(tmp_path, server, jobs) as worker:
            sent = send_and_follow(server, 10)
            [its_id] = [w.id for w in jobs.workers()]
            assert worker.stop() == 0
        send_and_follow(server, 2)
    attempts = jobs.attempts()
    assert {attempt.worker_id for job in sent for attempt in attempts[job["id"]]} == {its_id}


def test_jobs_of_a_killed_manage_py_worker_are_ready_again_at_once(tmp_path, look_into, journal, gate):
    """On a Django site too, the job of a killed worker is ready again within 1 s where another worker lives."""
    with django_site(tmp_path, *GUNICORN) as server:
        jobs = look_into(tmp_path / "jobs.sqlite3")
        with manage_py_worker(tmp_path, server, jobs) as busy:
            job = server.send_hold(journal, gate)
            with manage_py_worker(tmp_path, server, jobs):
                killed_at_us = kill_process(busy.pid)
                [lost] = eventually(lambda: jobs.attempts().get(job["id"]), 20)
                gate.touch()
                assert server.result(job) == "open"
    ready_after_s = (lost.ended_at_us - killed_at_us) / US_PER_S
    print(f"ready again after {ready_after_s:.3f} s")
    assert (lost.outcome, 0 <= ready_after_s <= 1) == ("crashed", True)
