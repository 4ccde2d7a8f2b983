"""The command `treadle`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, python

from treadle import State, Treadle
from treadle.cli import main
from treadle.console.verbs import split_queues

TARGET = "tests.apps:app"


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


@contextmanager
def command(app: Treadle, *arguments: str) -> Iterator[Any]:
    """`treadle …` in a process of its own, on the store of `app`."""
    with python("-m", "treadle.cli", *arguments, env={"TREADLE_TEST_URL": str(app.settings.database_url)}) as process:
        yield process


def test_a_worker_process_runs_jobs_and_drains_on_sigterm(app: Treadle, gate: Gate) -> None:
    """What runs is finished, what waits is left, and it exits with 0."""
    with command(app, "worker", "run", TARGET, "--concurrency", "1") as process:
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        job = app.send_function(apps.wait_for, str(gate.path))
        eventually(lambda: job.refresh().state is State.RUNNING)
        process.send_signal(signal.SIGTERM)
        gate.open()
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (0, "")
    assert job.refresh().state is State.SUCCEEDED
    assert [line.split()[2] for line in errors.splitlines()] == ["INFO"] * 3
    assert "takes jobs: 1 processes" in errors
    assert "has stopped" in errors


def test_a_second_signal_interrupts(app: Treadle, gate: Gate) -> None:
    """The job is ready again, with its attempt refunded."""
    with command(app, "worker", "run", TARGET) as process:
        job = app.send_function(apps.wait_for, str(gate.path))
        eventually(lambda: job.refresh().state is State.RUNNING)
        process.send_signal(signal.SIGINT)
        eventually(lambda: "takes no more jobs" in process.stderr.readline())
        process.send_signal(signal.SIGINT)
        eventually(lambda: job.refresh().state is State.READY)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert job.refresh().row.attempt == 0


def test_a_worker_process_serves_the_queues_it_is_given(app: Treadle) -> None:
    """In their order; others wait."""
    other = app.send_function(apps.string_length, "abc")
    with command(app, "worker", "run", TARGET, "--queues", "mail,more"):
        assert app.send_function(apps.string_length.options(queue="more"), "abc").result(PATIENCE_S) == 3
    assert other.refresh().state is State.READY


def test_status_runs_as_a_command(app: Treadle) -> None:
    """On an empty store."""
    with command(app, "status", TARGET) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("no worker is known\n", "")
        assert process.returncode == 0


def test_migrate_makes_the_tables(app: Treadle, tmp_path: Path) -> None:
    """And says so with the name of the file."""
    with command(app, "migrate", TARGET) as process:
        output = process.communicate(timeout=PATIENCE_S)[0]
    assert output == f"{tmp_path / 'jobs.sqlite3'} is up to date\n"
    assert (tmp_path / "jobs.sqlite3").exists()


def test_the_commands_know_postgresql(postgres_url: str, tmp_path: Path) -> None:
    """`migrate`, `status` and `worker run` on a database of a server; nothing they say holds a password."""
    app = jobs_app(tmp_path, database_url=postgres_url.replace("treadle@", "treadle:secret@"))
    with command(app, "migrate", TARGET) as process:
        output = process.communicate(timeout=PATIENCE_S)[0]
    assert output.startswith("postgresql://")
    assert output.endswith(" is up to date\n")
    with command(app, "worker", "run", TARGET) as worker:
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        with command(app, "status", TARGET) as process:
            output += process.communicate(timeout=PATIENCE_S)[0]
        worker.send_signal(signal.SIGTERM)
        output += worker.communicate(timeout=PATIENCE_S)[1]
    assert "queue   default  succeeded 1" in output
    assert "secret" not in output
    app.close()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tests.apps:ap", "treadle: module 'tests.apps' has no 'ap', did you mean 'app'?\n"),
        ("tests.apps:not_an_app", "treadle: tests.apps:not_an_app is a int, not a Treadle application\n"),
        ("tests.apps", "treadle: 'tests.apps' is not of the form 'module:attribute'\n"),
    ],
)
def test_an_error_of_ours_is_one_line(capsys: pytest.CaptureFixture[str], target: str, message: str) -> None:
    """On standard error, with exit status 1."""
    assert main(["status", target]) == 1
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("arguments", [[], ["wroker"], ["worker"], ["worker", "run"]], ids=" ".join)
def test_a_wrong_command_is_answered_with_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Exit status 2, as usual."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: treadle" in capsys.readouterr().err


@pytest.mark.parametrize("concurrency", ["0", "-1", "many"])
def test_a_concurrency_that_is_none_is_refused(app: Treadle, concurrency: str) -> None:
    """Before a worker starts, and in words."""
    with command(app, "worker", "run", TARGET, "--concurrency", concurrency) as process:
        errors = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode in (1, 2)
    assert concurrency in errors
    assert "Traceback" not in errors


def test_queues_are_split_at_commas() -> None:
    """Empty names are left out."""
    assert split_queues("mail,,default,") == ("mail", "default")
