"""`flask worker …`; `worker run` itself is tested with real processes in tests/end_to_end."""

import sqlite3

import pytest
from tests.flask_worker.site import string_length, worker

from treadle.console.verbs import VERBS
from treadle.store.contract import WorkerRow


@pytest.fixture
def database(tmp_path):
    return tmp_path / "jobs.sqlite3"


@pytest.fixture
def make_site(make_app, database):
    return lambda **config: make_app(WORKER_MODE="store", WORKER_DATABASE_URL=f"sqlite:///{database}", **config)


@pytest.fixture
def app(make_site):
    return make_site()


@pytest.fixture
def flask(make_site):
    """Runs `flask …` in this process, each time with an application of its own."""
    return lambda *arguments, **config: make_site(**config).test_cli_runner().invoke(args=arguments)


def test_status_of_an_empty_store(flask):
    """Where nothing was ever sent, the status says that no worker is known."""
    shown = flask("worker", "status")
    assert (shown.exit_code, shown.output) == (0, "no worker is known\n")


def test_status_counts_jobs(app, flask):
    """The status has a line for each queue, with the number of jobs in each state."""
    with app.app_context():
        worker.send_function(string_length, "abc")
        worker.run_pending()
        worker.send_many([string_length.bind("a"), string_length.options(queue="mail").bind("b")])
    shown = flask("worker", "status").output
    assert "queue   default  ready 1  succeeded 1\n" in shown
    assert "queue   mail  ready 1\n" in shown


def test_status_lists_workers(app, flask):
    """The status names each worker, its kind, its process and its host."""
    row = WorkerRow(id="w-1", host="box", pid=7, kind="embedded", started_at_us=0, last_seen_at_us=0, lease_until_us=0)
    app.extensions["worker"].store.register(row)
    assert "worker  w-1  embedded  pid 7 on box" in flask("worker", "status").output


def test_migrate_makes_the_tables(flask, database):
    """`migrate` makes the tables, says which file is up to date, and may be repeated."""
    for _ in range(2):
        shown = flask("worker", "migrate")
        assert (shown.exit_code, shown.output) == (0, f"{database} is up to date\n")
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM treadle_job").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("verb", ["status", "migrate"])
def test_an_error_is_one_line(flask, database, verb):
    """What goes wrong is one line on standard error that names the place, and the exit status 1."""
    database.write_text("no database at all, just a text that is long enough to be read as one\n" * 20)
    shown = flask("worker", verb)
    assert (shown.exit_code, shown.output.count("\n")) == (1, 1)
    assert shown.output.startswith(f"flask worker: {database}")
    assert "not a SQLite file" in shown.output


def test_a_newer_store_is_left_alone(flask, database):
    """A file that a newer Treadle has migrated is refused, not changed."""
    assert flask("worker", "migrate").exit_code == 0
    connection = sqlite3.connect(database)
    connection.execute("UPDATE treadle_meta SET value = '999'")
    connection.commit()
    connection.close()
    shown = flask("worker", "status")
    assert (shown.exit_code, shown.output.count("\n")) == (1, 1)
    assert "upgrade the package 'treadle'" in shown.output


@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_a_wrong_concurrency_is_refused(flask, wrong):
    """A number of child processes that makes no sense is a usage error, before any worker starts."""
    shown = flask("worker", "run", "--concurrency", wrong)
    assert shown.exit_code == 2
    assert "--concurrency" in shown.output


def test_an_unknown_queue_is_refused(flask):
    """Where queues are listed, `run` with another one is refused with the near one."""
    shown = flask("worker", "run", "--queues", "mial", WORKER_QUEUES=["default", "mail"])
    assert shown.exit_code == 1
    assert "unknown queue 'mial', did you mean 'mail'?" in shown.output


def test_help_explains_itself(flask):
    """`flask worker --help` lists each command with a sentence."""
    shown = flask("worker", "--help").output
    assert all(word in shown for word in ("run", "status", "migrate", "Take jobs until"))


def test_each_verb_of_the_console_is_there(flask):
    """With the same options as in `treadle worker`, explained by `--help`."""
    shown = flask("worker", "--help").output
    assert all(verb.name in shown for verb in VERBS)
    assert "--max-age" in flask("worker", "status", "--help").output


def test_a_job_is_found_shown_and_cancelled(app, flask):
    """`jobs`, `job` and `cancel` speak of the jobs of the application."""
    with app.app_context():
        job = worker.send_function(string_length, "abc")
    assert flask("worker", "jobs", "--state", "ready").output.startswith(job.id)
    assert '"abc"' in flask("worker", "job", job.id, "--payload").output
    assert flask("worker", "cancel", job.id).output == f"{job.id} is cancelled\n"
    assert flask("worker", "cancel", "nobody").exit_code == 1
    assert "queue" in flask("worker", "top", "--once").output


def test_a_health_check_fails_without_a_worker(flask):
    """`status --max-age` has the exit status that an orchestrator looks at."""
    assert flask("worker", "status", "--max-age", "30").exit_code == 1
