"""What users' tests are given: another mode for a while, and the fixtures for pytest."""

import pytest
from flask import Flask
from tests.flask_worker.site import string_length, worker

from flask_worker import FlaskWorker
from treadle.errors import ConfigurationError

pytest_plugins = ["pytester"]


def test_the_mode_of_an_app_that_is_made_may_be_changed(make_app):
    """`with worker.testing(app, mode=…)` needs no context, and ends with its block."""
    app = make_app(WORKER_MODE="collect")
    with worker.testing(app, mode="immediate"):
        assert app.test_client().post("/length", data="abc").json["state"] == "succeeded"
    assert app.test_client().post("/length", data="abc").json["state"] == "ready"


def test_what_was_sent_is_seen_without_a_context(make_app):
    """The block gives what lists the calls and runs them."""
    app = make_app(WORKER_MODE="immediate")
    with worker.testing(app) as jobs:
        app.test_client().post("/length", data="abc")
        assert [call.args for call in jobs.sent(string_length)] == [("abc",)]
        assert [job.result() for job in jobs.run_pending()] == [3]


def test_the_current_app_is_meant_where_none_is_named(app):
    """Other applications of the same FlaskWorker keep their modes."""
    with worker.testing(mode="immediate"):
        assert worker.send_function(string_length, "abc").state == "succeeded"


def test_another_app_keeps_its_mode(make_app):
    """Two applications share nothing, in tests too."""
    one, other = make_app(), make_app()
    with worker.testing(one, mode="immediate"):
        assert other.test_client().post("/length", data="abc").json["state"] == "ready"


def test_the_file_of_the_app_is_not_made(tmp_path):
    """An application with the settings of production may be tested, and nothing appears in its instance folder."""
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    own = FlaskWorker(app)
    task = own.task(string_length.function)
    with app.app_context(), own.testing():
        own.send_function(task, "abc")
        assert len(own.run_pending()) == 1
    assert not (tmp_path / "instance").exists()


def test_an_app_without_a_worker_cannot_be_tested():
    """The error names what to call."""
    with pytest.raises(ConfigurationError, match=r"call worker\.init_app"), worker.testing(Flask("plain")):
        pass


CONFTEST = """
import pytest
from tests.flask_worker.site import create_app

pytest_plugins = ["flask_worker.testing"]

@pytest.fixture
def app(tmp_path):
    return create_app(WORKER_MODE="store", WORKER_DATABASE_URL=f"sqlite:///{tmp_path}/not-for-tests.sqlite3")

@pytest.fixture
def client(app):
    return app.test_client()
"""
TESTS = """
from tests.flask_worker.site import string_length

def test_collect(client, worker_collect):
    client.post("/length", data="abc")
    assert [call.args for call in worker_collect.sent(string_length)] == [("abc",)]
    assert [job.result() for job in worker_collect.run_pending()] == [3]

def test_immediate(client, worker_immediate):
    assert client.post("/length", data="abc").json["state"] == "succeeded"

def test_store(client, worker_store, tmp_path):
    sent = client.post("/length", data="abc").json
    assert (worker_store.job(sent["id"]).state, (tmp_path / "treadle.sqlite3").exists()) == ("ready", True)

def test_the_settings_of_the_app_are_not_used(client, worker_collect, tmp_path):
    client.post("/length", data="abc")
    assert not (tmp_path / "not-for-tests.sqlite3").exists()
"""


def test_there_is_a_fixture_for_each_mode(pytester, monkeypatch):
    """With the user's own fixture `app`, and without the store of its settings."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    pytester.runpytest("-p", "no:django", "-p", "no:xdist", "-p", "no:cacheprovider").assert_outcomes(passed=4)
