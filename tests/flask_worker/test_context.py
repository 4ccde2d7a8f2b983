"""A Flask application as Treadle sees it: contexts, the target of child processes, the key of links."""

import click
import pytest
from flask import Flask, g
from flask.cli import ScriptInfo
from tests.flask_worker import site
from tests.flask_worker.site import count_visits, create_app, send_another, string_length, worker
from tests.functions import has_imported

from flask_worker import FlaskWorker
from flask_worker.context import runner_of
from treadle.errors import AppNotFound, SettingsError
from treadle.job import Job
from treadle.states import State
from treadle.worker.execution import Work


@pytest.fixture
def store_url(tmp_path):
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


@pytest.fixture
def make_live_app(make_app, store_url):
    """Applications as they are outside of tests, with one store."""
    return lambda **config: make_app(TESTING=False, WORKER_MODE="store", WORKER_DATABASE_URL=store_url, **config)


def status_of(app, path):
    return app.test_client().get(path).status_code


def link_to_new_job(app):
    with app.test_request_context():
        return worker.urls(worker.send_function(string_length, "abc"))["status"]


# The context of a job


def test_each_job_has_a_fresh_context(app):
    """Each job runs in an application context of its own: nothing of `g` is left of the one before."""
    worker.send_many([count_visits.bind(), count_visits.bind()])
    assert [job.result() for job in worker.run_pending()] == [[site.__name__, 1], [site.__name__, 1]]


def test_the_context_of_the_caller_is_left_alone(app):
    """A job that runs inside the send sees nothing of the sender's `g`, and changes nothing in it."""
    g.visits = 7
    worker.send_function(count_visits)
    assert worker.run_pending()[0].result() == [site.__name__, 1]
    assert g.visits == 7


def test_the_context_ends_with_the_job(app):
    """What the application tears down with a context is torn down when the job ends."""
    ended = []
    app.teardown_appcontext(lambda error: ended.append("context"))
    worker.send_function(count_visits)
    worker.run_pending()
    assert ended == ["context"]


def test_a_job_may_send_jobs(app):
    """A job sends another through the same FlaskWorker, since its application is current there."""
    worker.send_function(send_another, "abc")
    first, second = worker.run_pending()
    assert (first.result(), second.result()) == (second.id, 3)


def test_the_runner_of_a_child_makes_the_context(app):
    """A child builds the application from its target, and runs jobs in contexts of that application."""
    runner = runner_of("tests.flask_worker.site:create_app()")
    job = Job(id="1", task=count_visits.name, state=State.RUNNING, payload='{"args":[],"kwargs":{}}', attempt=1)
    assert runner.run(Work(job)).result == f'["{site.__name__}",1]'


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("tests.flask_worker.nowhere:app", "nowhere"),
        ("tests.flask_worker.site:nowhere", "nowhere"),
        ("tests.flask_worker.site:not_an_app", "not_an_app"),
        ("tests.flask_worker.site:create_plain_app()", "has no FlaskWorker"),
    ],
)
def test_a_wrong_target_is_explained_in_the_child(target, reason):
    """A target that does not lead to an application with a FlaskWorker raises AppNotFound with the reason."""
    with pytest.raises(AppNotFound, match=reason):
        runner_of(target)


# Where a child finds the application


def test_the_setting_comes_first(make_app, monkeypatch):
    """WORKER_APP is taken as it is, whatever else is known."""
    app = make_app(WORKER_APP="shop.wsgi:create_app()")
    monkeypatch.setattr(site, "found", app, raising=False)
    assert app.extensions["worker"].target() == "shop.wsgi:create_app()"


def test_the_target_of_the_command(make_app):
    """In a process started as `flask --app TARGET …` that target is taken."""
    script = ScriptInfo(app_import_path="tests.flask_worker.site:create_app")
    with click.Context(click.Command("worker"), obj=script):
        app = make_app()
    assert app.extensions["worker"].target() == "tests.flask_worker.site:create_app"


def test_the_module_that_holds_the_app(make_app, monkeypatch):
    """An application that is an attribute of an imported module is found there."""
    app = make_app()
    monkeypatch.setattr(site, "found", app, raising=False)
    assert app.extensions["worker"].target() == "tests.flask_worker.site:found"


def test_an_app_that_no_child_could_find_is_refused_at_the_first_send(make_live_app):
    """Without any of these the first send raises AppNotFound, which names WORKER_APP; nothing is sent."""
    with make_live_app().app_context():
        with pytest.raises(AppNotFound, match="WORKER_APP"):
            worker.send_function(string_length, "abc")
        assert worker.sent() == []


def test_under_testing_no_child_is_needed(make_app, store_url):
    """With TESTING on, a job may be sent and run here though no child could find the application."""
    with make_app(WORKER_MODE="store", WORKER_DATABASE_URL=store_url).app_context():
        worker.send_function(string_length, "abc")
        assert worker.run_pending()[0].result() == 3


@pytest.mark.parametrize(
    ("target", "preload"),
    [("tests.flask_worker.site:create_app()", ("tests.flask_worker.site?",)), ("tests", ("tests?",)), ("app.py", ())],
)
def test_children_are_forked_after_the_module_was_imported(make_app, target, preload):
    """Where the target names one; a target that is a file is left to each child."""
    assert make_app(WORKER_APP=target).extensions["worker"].preload() == preload


def test_a_child_of_the_pool_has_the_application_already(make_app):
    """What this process has imported of it was imported before the child was forked."""
    with make_app(WORKER_APP="tests.flask_worker.site:create_app()").app_context():
        assert list(worker.pool.map(has_imported, [site.__name__])) == [True]
        worker.pool.shutdown()


# The key of the links


def test_without_a_key_all_processes_share_one(make_live_app):
    """Without SECRET_KEY a random key is kept in the store, so each process honours the links of the others."""
    one, other = (make_live_app(SECRET_KEY=None, DEBUG=True, WORKER_APP="site:app") for _ in range(2))
    assert status_of(other, link_to_new_job(one)) == 200


def test_without_a_key_there_is_one_warning(make_live_app):
    """Outside of debug the missing SECRET_KEY is warned of, once in a process."""
    app = make_live_app(SECRET_KEY=None, WORKER_APP="site:app")
    with pytest.warns(UserWarning, match="SECRET_KEY is not set") as caught:
        links = [link_to_new_job(app), link_to_new_job(app)]
    assert [status_of(app, link) for link in links] == [200, 200]
    assert len(caught) == 1


def test_with_a_key_the_store_has_none(make_live_app, store_url):
    """With a SECRET_KEY the links are signed with it: another application on the same file must have it too."""
    link = link_to_new_job(make_live_app(SECRET_KEY="one", WORKER_APP="site:app"))
    assert status_of(make_live_app(SECRET_KEY="one"), link) == 200
    assert status_of(make_live_app(SECRET_KEY="another"), link) == 404


def test_links_survive_a_change_of_the_key(make_live_app):
    """A link that was signed with a key of SECRET_KEY_FALLBACKS is good, and new ones use the new key."""
    old = link_to_new_job(make_live_app(SECRET_KEY="old", WORKER_APP="site:app"))
    changed = make_live_app(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"], WORKER_APP="site:app")
    assert status_of(changed, old) == 200
    assert status_of(make_live_app(SECRET_KEY="new"), link_to_new_job(changed)) == 200


def test_a_key_that_was_given_up_opens_nothing(make_live_app):
    """Once a key is in neither setting its links are 404."""
    old = link_to_new_job(make_live_app(SECRET_KEY="old", WORKER_APP="site:app"))
    assert status_of(make_live_app(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older"]), old) == 404


def test_the_key_may_be_set_late():
    """SECRET_KEY is read when a link is made, so it may be set after init_app."""
    app = Flask(__name__)
    own = FlaskWorker(app)
    app.config["SECRET_KEY"] = "late"
    with app.app_context():
        token = app.extensions["worker"].links.token("1")
        assert app.extensions["worker"].links.opened(token).job_id == "1"
    assert own.blueprint.name == "worker"


def test_apps_of_one_factory_have_their_own_runner():
    """Each application runs its jobs in its own contexts."""
    one, other = create_app(), create_app()
    assert one.extensions["worker"].runner is not other.extensions["worker"].runner


def test_a_factory_that_flask_found_by_itself_is_found_by_children(tmp_path, monkeypatch):
    """`flask run` beside an app.py that holds only create_app() needs no setting."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("def create_app(): ...\n")
    with click.Context(click.Command("run"), obj=ScriptInfo()):
        app = Flask("found")
        FlaskWorker(app)
    assert app.extensions["worker"].target() == "app.py"


def test_a_setting_that_is_changed_too_late_is_refused(make_app):
    """A WORKER_ key that is set after init_app would be ignored, so the first use tells."""
    app = make_app()
    app.config["WORKER_MODE"] = "immediate"
    with app.app_context(), pytest.raises(SettingsError, match="set them before FlaskWorker"):
        worker.send_function(string_length, "abc")
