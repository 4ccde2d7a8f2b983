"""Where the routes are, from the browser's side: below a path, behind a proxy, inside another blueprint."""

import gc
import weakref

import pytest
from flask import Blueprint, Flask, abort
from tests.flask_worker.site import create_app, string_length, worker
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from flask_worker import FlaskWorker
from treadle.errors import ConfigurationError

PROXIED = {"X-Forwarded-Prefix": "/shop", "X-Forwarded-Host": "public.example", "X-Forwarded-Proto": "https"}


@pytest.fixture
def own():
    """A FlaskWorker of the test's own, with a task."""
    made = FlaskWorker()
    made.task(string_length.function)
    return made


def make_site(own, *blueprints, **config):
    """An application whose routes are registered by hand."""
    app = Flask("by-hand")
    app.config.update(
        TESTING=True, SECRET_KEY="for tests only", WORKER_MODE="collect", WORKER_URL_PREFIX=None, **config
    )
    own.init_app(app)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def urls_of_new_job(own, app):
    with app.test_request_context():
        [job] = own.send_many([own.task(string_length.function).bind("abc")])
        return own.urls(job)


def test_behind_a_proxy_that_adds_a_prefix(make_app):
    """With ProxyFix the links have the prefix that the browser must use, and lead to the job through the proxy."""
    app = make_app()
    app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1, x_host=1, x_proto=1)
    client = app.test_client()
    sent = client.post("/length", data="abc", headers=PROXIED)
    assert sent.headers["Location"].startswith("/shop/worker/jobs/")
    status = client.get(sent.headers["Location"].removeprefix("/shop"), headers=PROXIED)
    assert status.json["urls"]["events"].startswith("/shop/worker/jobs/")


@pytest.mark.parametrize(("origin", "code"), [("https://public.example", 202), ("https://evil.example", 403)])
def test_behind_a_proxy_the_sites_own_page_may_cancel(make_app, origin, code):
    """What is the same site is told by the name that the browser knows, and not by that behind the proxy."""
    app = make_app()
    app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1, x_host=1, x_proto=1)
    client = app.test_client()
    sent = client.post("/length", data="abc", headers=PROXIED).json
    cancel = sent["urls"]["cancel"].removeprefix("/shop")
    assert client.post(cancel, headers={**PROXIED, "Origin": origin}).status_code == code


def test_mounted_beside_another_application(make_app):
    """Under Werkzeug's dispatcher each link begins with the path at which the application is mounted."""
    client = Client(DispatcherMiddleware(Flask("front"), {"/jobs": make_app()}))
    sent = client.post("/jobs/length", data="abc")
    assert sent.headers["Location"].startswith("/jobs/worker/jobs/")
    assert client.get(sent.headers["Location"]).status_code == 200


def test_outside_of_a_request_links_begin_with_the_application_root(make_app):
    """As a job that writes an e-mail needs them: with SERVER_NAME, below APPLICATION_ROOT."""
    app = make_app(SERVER_NAME="public.example", APPLICATION_ROOT="/shop", PREFERRED_URL_SCHEME="https")
    with app.app_context():
        url = worker.urls(worker.send_function(string_length, "abc"))["status"]
    assert url.startswith("https://public.example/shop/worker/jobs/")


@pytest.mark.parametrize(
    ("options", "start"),
    [({"url_prefix": "/a/b"}, "/a/b/jobs/"), ({"name": "other", "url_prefix": "/c"}, "/c/jobs/"), ({}, "/jobs/")],
)
def test_registered_under_any_prefix_and_name(own, options, start):
    """By hand: the links lead where the site has put the routes."""
    app = make_site(own)
    app.register_blueprint(own.blueprint, **options)
    url = urls_of_new_job(own, app)["status"]
    assert url.startswith(start)
    assert app.test_client().get(url).json["state"] == "ready"


def test_inside_another_blueprint(own):
    """Whose guard is theirs, too: here nobody may look."""
    guarded = Blueprint("guarded", __name__, url_prefix="/members")
    guarded.before_request(lambda: abort(401))
    guarded.register_blueprint(own.blueprint, url_prefix="/work")
    app = make_site(own, guarded)
    url = urls_of_new_job(own, app)["status"]
    assert url.startswith("/members/work/jobs/")
    assert app.test_client().get(url).status_code == 401


def test_routes_that_were_never_registered_are_asked_for(own):
    """The error says what to call."""
    with pytest.raises(ConfigurationError, match=r"app\.register_blueprint\(worker\.blueprint\)"):
        urls_of_new_job(own, make_site(own))


def test_nothing_holds_an_application():
    """The extension keeps none, so one that a test has made is freed with it."""
    app = create_app()
    app.test_client().post("/length", data="abc")
    app.extensions["worker"].close()
    kept = weakref.ref(app)
    del app
    gc.collect()
    assert kept() is None
