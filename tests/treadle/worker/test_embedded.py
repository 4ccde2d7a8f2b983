"""A worker inside a web process."""

import threading
from pathlib import Path

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, Gate, eventually, jobs_app, python, working

from treadle import State, Treadle
from treadle.events import DutyFailed, Event
from treadle.pools import current
from treadle.worker.embedded import ELECTION

WEB_PROCESS = """
import sys
from pathlib import Path
from tests.helpers import jobs_app
app = jobs_app(Path(sys.argv[1]))
app.start_embedded()
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


def kinds(app: Treadle) -> list[str]:
    """What kinds of workers are known."""
    return [worker.kind for worker in app.store.workers()]


def threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("treadle")]


def test_an_embedded_worker_runs_jobs(app: Treadle) -> None:
    """In child processes of the web process, until `close`, which leaves nothing behind."""
    app.start_embedded()
    assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert kinds(app) == ["embedded"]
    app.close()
    assert kinds(app) == []
    assert threads() == []


def test_it_starts_once(app: Treadle) -> None:
    """However often a request asks for it."""
    for _ in range(3):
        app.start_embedded()
    assert threads().count("treadle-embedded") == 1
    app.close()


def test_one_process_is_elected(app: Treadle, tmp_path: Path) -> None:
    """The other one stands by and reports on jobs all the same."""
    other = jobs_app(tmp_path)
    app.start_embedded()
    eventually(lambda: kinds(app) == ["embedded"])
    other.start_embedded()
    assert other.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    assert kinds(app) == ["embedded"]
    other.close()
    app.close()


def test_another_process_takes_over(app: Treadle, tmp_path: Path) -> None:
    """When the elected one was killed."""
    with python("-c", WEB_PROCESS, str(tmp_path), stdin=-1) as web:
        assert web.stdout is not None
        assert web.stdout.readline() == "started\n"
        eventually(lambda: kinds(app) == ["embedded"])
        app.start_embedded()
        web.kill()
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    eventually(lambda: kinds(app) == ["embedded"])
    app.close()


def test_it_steps_aside_for_a_worker_process(app: Treadle, tmp_path: Path) -> None:
    """As soon as one is alive, and comes back when it has gone."""
    app.start_embedded()
    eventually(lambda: kinds(app) == ["embedded"])
    with working(jobs_app(tmp_path)):
        eventually(lambda: kinds(app) == ["process"])
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    eventually(lambda: kinds(app) == ["embedded"])
    app.close()


def test_it_does_not_stand_where_a_worker_process_is_alive(app: Treadle, tmp_path: Path) -> None:
    """Jobs are that one's work."""
    with working(jobs_app(tmp_path)):
        eventually(lambda: kinds(app) == ["process"])
        app.start_embedded()
        app.send_function(apps.string_length, "abc").result(PATIENCE_S)
        assert kinds(app) == ["process"]
        assert app.alive is not None
        assert not app.alive.is_held(ELECTION)
    app.close()


def test_a_web_process_that_stops_gives_its_jobs_back(app: Treadle, gate: Gate) -> None:
    """Interrupted with refund: no crash of anybody's."""
    app.start_embedded()
    job = app.send_function(apps.wait_for, str(gate.path))
    eventually(lambda: job.refresh().row.started_at_us)
    app.close()
    again = job.refresh()
    assert (again.state, again.row.attempt, again.row.crashes) == (State.READY, 0, 0)


def test_a_worker_that_cannot_start_is_told_and_harms_nobody(tmp_path: Path) -> None:
    """The web process goes on, and the reason is announced."""
    app = jobs_app(tmp_path, app="tests.apps:not_an_app")
    events: list[Event] = []
    app.events.subscribe(events.append)
    app.start_embedded()
    eventually(lambda: any(isinstance(event, DutyFailed) for event in events))
    assert "not a Treadle application" in str(next(e.error for e in events if isinstance(e, DutyFailed)))
    app.close()


def test_a_store_in_memory_has_its_worker_too() -> None:
    """There is nobody else to elect."""
    app = jobs_app(Path(), database_url="memory://")
    app.start_embedded()
    assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    app.close()


@pytest.mark.parametrize("options", [{"embedded": "never"}, {"mode": "collect"}, {"mode": "immediate"}])
def test_settings_may_forbid_it(tmp_path: Path, options: dict[str, str]) -> None:
    """And the modes of tests do."""
    app = jobs_app(tmp_path, **options)
    app.start_embedded()
    assert threads() == []
    app.close()


def test_none_starts_in_a_child_of_a_pool(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child runs jobs and takes none."""
    monkeypatch.setattr(current, "is_child", True)
    app.start_embedded()
    assert threads() == []


def test_a_store_that_is_mended_later_is_served_then(tmp_path: Path) -> None:
    """What is wrong with the store is no error of the request that started the worker, and does not end it."""
    app = jobs_app(tmp_path / "later")
    events: list[Event] = []
    app.events.subscribe(events.append)
    app.start_embedded()
    eventually(lambda: any(isinstance(event, DutyFailed) for event in events))
    (tmp_path / "later").mkdir()
    assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
    app.close()


def test_it_stays_beside_a_worker_of_other_queues(app: Treadle, tmp_path: Path) -> None:
    """It steps aside only for one that serves all that it serves."""
    with working(jobs_app(tmp_path), queues=("mail",)):
        eventually(lambda: kinds(app) == ["process"])
        app.start_embedded()
        assert app.send_function(apps.string_length, "abc").result(PATIENCE_S) == 3
        assert sorted(kinds(app)) == ["embedded", "process"]
    app.close()
