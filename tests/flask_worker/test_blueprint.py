"""The routes of a job, as a browser sees them."""

import time

import pytest
from flask import Flask
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from tests.flask_worker.site import count_to, create_app, fail, string_length, worker

from flask_worker import FlaskWorker
from treadle.web.links import SALT

UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def urls_of(app, job):
    with app.test_request_context():
        return worker.urls(job)


def sign(value, key="for tests only", salt=SALT, signer=TimestampSigner):
    return URLSafeTimedSerializer(key, salt=salt, signer=signer).dumps(value)


def is_not_found(answer):
    problem = "urn:treadle:problem:job-not-found"
    return (answer.status_code, answer.mimetype, answer.json["type"]) == (404, "application/problem+json", problem)


class OldSigner(TimestampSigner):
    """Signs as it was done eleven days ago."""

    def get_timestamp(self):
        return int(time.time()) - 1_000_000


# Sending


def test_accepted(client):
    """A view that sent a job answers 202 with the place of the status and when to look there."""
    answer = client.post("/length", data="abc")
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert answer.json["state"] == "ready"
    assert answer.headers["Location"] == answer.json["urls"]["status"]


def test_the_links_lead_to_the_job(client):
    """The links of the answer lead to the status and to the result of this job."""
    sent = client.post("/length", data="abc").json
    assert client.get(sent["urls"]["status"]).json["id"] == sent["id"]
    assert client.get(sent["urls"]["result"]).status_code == 202


# Status


def test_status_tells_state_progress_and_messages(app, client):
    """The status has the state, the progress and the messages of the job, and its links."""
    job = worker.send_function(count_to, 4)
    worker.run_pending()
    urls = urls_of(app, job)
    assert client.get(urls["status"]).json == {
        "id": job.id,
        "state": "succeeded",
        "cancel_requested": False,
        "progress": {"done": 4.0, "total": 4.0, "fraction": 1.0, "message": "step 4"},
        "parts": None,
        "messages": [{"number": 1, "body": {"counted": 4}}],
        "error": None,
        "urls": {"status": urls["status"], "events": urls["events"]},
    }


def test_status_that_was_seen_is_not_sent_again(client):
    """With the ETag of the last answer the next one is 304 without a body, until something changes."""
    url = client.post("/length", data="abc").json["urls"]["status"]
    first = client.get(url)
    again = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    worker.run_pending()
    changed = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json["state"]) == (200, "succeeded")


def test_status_can_only_be_read(client):
    """A link to the status lets its holder read, and do nothing else."""
    url = client.post("/length", data="abc").json["urls"]["status"]
    assert [client.open(url, method=m).status_code for m in ("POST", "PUT", "DELETE")] == [405, 405, 404]
    assert client.head(url).status_code == 200


# Result


def test_result_is_what_the_function_returned(client):
    """The result of a job that succeeded is 200 with the function's value as JSON."""
    url = client.post("/length", data="abc").json["urls"]["result"]
    worker.run_pending()
    answer = client.get(url)
    assert (answer.status_code, answer.mimetype, answer.json) == (200, "application/json", 3)


def test_result_of_a_waiting_job(client):
    """As long as the job has no result the answer is 202 with Retry-After."""
    answer = client.get(client.post("/length", data="abc").json["urls"]["result"])
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")


def test_result_of_a_cancelled_job(app, client):
    """The result of a cancelled job is 409 as a problem."""
    job = worker.send_function(string_length, "abc")
    job.cancel()
    answer = client.get(urls_of(app, job)["result"])
    assert (answer.status_code, answer.mimetype) == (409, "application/problem+json")


@pytest.mark.parametrize("resource", ["status", "result"])
def test_the_text_of_an_error_is_not_for_the_browser(app, client, resource):
    """Neither error text nor traceback of a failed job is told outside of debug."""
    job = worker.send_function(fail, "secret of the house")
    worker.run_pending()
    answer = client.get(urls_of(app, job)[resource])
    assert answer.status_code == {"status": 200, "result": 409}[resource]
    assert not any(word in answer.text for word in ("secret", "ValueError", "Traceback"))


@pytest.mark.parametrize("resource", ["status", "result"])
def test_the_text_of_an_error_is_there_for_debugging(app, client, resource):
    """With debug on the error and its text are told."""
    app.debug = True
    job = worker.send_function(fail, "secret of the house")
    worker.run_pending()
    assert "ValueError: secret of the house" in client.get(urls_of(app, job)[resource]).text


# Who may ask


@pytest.mark.parametrize("resource", ["", "/result"])
@pytest.mark.parametrize(
    "token",
    [
        "x",
        "x.y.z",
        "%00",
        "é",
        UNKNOWN_ID,
        sign({"job": UNKNOWN_ID, "scope": "read"}),
        sign({"job": UNKNOWN_ID, "scope": "write"}),
        sign([UNKNOWN_ID]),
        "x" * 5000,
    ],
    # A signature names the second it was made in, and each process of pytest-xdist must find the same tests.
    ids=["letter", "dots", "nul", "accent", "bare id", "to read", "to write", "list", "long"],
)
def test_what_opens_nothing_is_not_found(client, token, resource):
    """Forged and damaged links, and good ones to no job, all give the same 404."""
    assert is_not_found(client.get(f"/worker/jobs/{token}{resource}"))


@pytest.mark.parametrize(
    "change",
    [
        {"key": "another key"},
        {"salt": "another purpose"},
        {"signer": OldSigner},
        {"scope": "write"},
    ],
)
def test_a_link_that_is_not_good_is_not_found(client, change):
    """A link to a job that is there gives that same 404 if it is forged, of another purpose or scope, or too old."""
    job = worker.send_function(string_length, "abc")
    value = {"job": job.id, "scope": change.pop("scope", "read")}
    assert client.get(f"/worker/jobs/{sign({**value, 'scope': 'read'})}").status_code == 200
    assert is_not_found(client.get(f"/worker/jobs/{sign(value, **change)}"))


def test_the_age_of_a_link_is_a_setting(make_app):
    """WORKER_LINK_MAX_AGE_S says how long a link is good for."""
    app = make_app(WORKER_LINK_MAX_AGE_S=2_000_000)
    with app.app_context():
        job = worker.send_function(string_length, "abc")
        token = sign({"job": job.id, "scope": "read"}, signer=OldSigner)
    assert app.test_client().get(f"/worker/jobs/{token}").status_code == 200


def test_a_link_of_another_app_is_not_found(make_app, client):
    """A link that another application made opens nothing here, even with the same secret key."""
    other = make_app()
    with other.app_context():
        url = urls_of(other, worker.send_function(string_length, "abc"))["status"]
    assert other.test_client().get(url).status_code == 200
    assert is_not_found(client.get(url))


def test_the_id_of_a_job_opens_nothing(client):
    """Who knows the id of a job cannot look at it."""
    sent = client.post("/length", data="abc").json
    assert is_not_found(client.get(f"/worker/jobs/{sent['id']}"))


# Where the routes are


def test_another_prefix(make_app):
    """WORKER_URL_PREFIX moves the routes, and the links with them."""
    client = make_app(WORKER_URL_PREFIX="/background/work").test_client()
    url = client.post("/length", data="abc").json["urls"]["status"]
    assert url.startswith("/background/work/jobs/")
    assert client.get(url).status_code == 200


def test_under_a_script_name(client):
    """Where the application is mounted below a path, the links begin with that path."""
    mounted = {"SCRIPT_NAME": "/shop"}
    answer = client.post("/length", data="abc", environ_overrides=mounted)
    assert answer.headers["Location"].startswith("/shop/worker/jobs/")
    path = answer.headers["Location"].removeprefix("/shop")
    status = client.get(path, environ_overrides=mounted)
    assert status.json["urls"]["events"].startswith("/shop/worker/jobs/")


def test_without_a_prefix_nothing_is_mounted(make_app):
    """With WORKER_URL_PREFIX None the application has no routes of ours."""
    app = make_app(WORKER_URL_PREFIX=None)
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == {"static", "length", "ping"}


def test_the_routes_may_be_registered_by_hand():
    """With WORKER_URL_PREFIX None `worker.blueprint` may be registered where the site wants it."""
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="for tests only", WORKER_MODE="collect", WORKER_URL_PREFIX=None)
    own = FlaskWorker(app)
    app.register_blueprint(own.blueprint, url_prefix="/by-hand")
    with app.test_request_context():
        job = own.send_function(own.task(string_length.function), "abc")
        url = own.urls(job)["status"]
    assert url.startswith("/by-hand/jobs/")
    assert app.test_client().get(url).json["state"] == "ready"


def test_two_apps_answer_for_their_own_jobs():
    """The routes of two applications of one process look each into its own store."""
    apps = [create_app(), create_app()]
    urls = [app.test_client().post("/length", data="abc").json["urls"]["status"] for app in apps]
    found = [[app.test_client().get(url).status_code for url in urls] for app in apps]
    assert found == [[200, 404], [404, 200]]
