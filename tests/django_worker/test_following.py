"""How a browser follows a job in Django: the page, the events, the button, and who may."""

import asyncio
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.core.signing import TimestampSigner, b62_encode
from django.db import connections
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.test.client import AsyncRequestFactory
from django.utils.functional import SimpleLazyObject, empty

from django_worker import accepted, progress, run_pending, send_function, urls
from django_worker.middleware import QueueFullMiddleware
from django_worker.site import site
from tests.django_site import tasks
from tests.flask_worker.test_following import A_BROWSER, CHINESE, ELSEWHERE
from tests.treadle.web.sse import parsed
from treadle.errors import QueueFull

pytestmark = pytest.mark.django_db


def sent_by(client, **options):
    return client.post("/length", "hello", content_type="text/plain", **options)


def test_a_form_is_led_to_a_page_that_waits(client):
    """303 for who would rather have HTML; the page follows the job, and works without scripts."""
    answer = sent_by(client, headers=A_BROWSER)
    assert answer.status_code == 303
    page = client.get(answer["Location"], headers=A_BROWSER)
    assert (page.status_code, page["Referrer-Policy"]) == (200, "same-origin")
    assert f'<job-progress src="{answer["Location"]}"' in page.content.decode()
    assert b'<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.content


def test_the_page_is_there_where_templates_are_not_looked_for_in_apps(client, settings):
    """Or where the site has no templates at all."""
    settings.TEMPLATES = []
    page = client.get(sent_by(client, headers=A_BROWSER)["Location"], headers=A_BROWSER)
    assert (page.status_code, b"<job-progress" in page.content) == (200, True)


def test_the_page_speaks_chinese(client):
    """To browsers that prefer it."""
    page = client.get(sent_by(client, headers=CHINESE)["Location"], headers=CHINESE).content.decode()
    assert ('<html lang="zh-CN">' in page, "正在等待空闲的工作进程" in page) == (True, True)


def test_the_tag_follows_the_job_in_any_template(client):
    """`{% job_progress job %}`: the element and its script, escaped, with a link that only reads."""
    job = send_function(tasks.string_length, "x")
    shown = Template("{% load worker %}{% job_progress job label=label %}").render(
        Context({"job": job, "label": '<A & "B">'})
    )
    assert client.get(shown.split('src="')[1].split('"')[0]).json()["urls"].keys() == {"status", "events"}
    assert 'label="&lt;A &amp; &quot;B&quot;&gt;"' in shown
    assert '<script type="module" src="/worker/assets/job-progress.js?v=' in shown


class LazyNonce(SimpleLazyObject):
    """Django's own, which is there from 6.0 on: false until it was asked for."""

    def __bool__(self):
        return self._wrapped is not empty


def test_the_tag_takes_the_nonce_of_djangos_own_policy():
    """`nonce=csp_nonce`, though it is made only when it is shown."""
    job = send_function(tasks.string_length, "x")
    shown = Template("{% load worker %}{% job_progress job nonce=csp_nonce %}")
    assert 'nonce="abc"' in shown.render(Context({"job": job, "csp_nonce": LazyNonce(lambda: "abc")}))
    assert "nonce" not in shown.render(Context({"job": job}))


def test_both_frameworks_show_the_same_page():
    """The template is one text, which both languages of templates understand."""
    from pathlib import Path

    import django_worker
    import flask_worker

    ours = Path(django_worker.__file__).parent / "templates/django_worker/job.html"
    theirs = Path(flask_worker.__file__).parent / "templates/worker/job.html"
    assert ours.read_text() == theirs.read_text()


def test_events_are_finite_under_wsgi(client):
    """Each answer has a length; who comes back with its last id is told what is new, and 204 after the end."""
    url = urls(send_function(tasks.reports, 2))["events"]
    first = client.get(url)
    assert (first.status_code, first["Content-Length"]) == (200, str(len(first.content)))
    run_pending()
    news = client.get(url, headers={"last-event-id": parsed(first.content)[-1].id})
    assert parsed(news.content)[-1].event == "end"
    assert client.get(url, headers={"last-event-id": parsed(news.content)[-1].id}).status_code == 204


def test_several_jobs_in_one_stream(client):
    """`/events?job=…&job=…`."""
    found = [urls(send_function(tasks.string_length, "x"))["status"] for _ in range(2)]
    told = parsed(client.get("/worker/events", {"job": [url.rpartition("/")[2] for url in found]}).content)
    assert {each.json()["src"] for each in told[1:]} == set(found)


@pytest.mark.parametrize("method", ["post", "delete"])
def test_cancel_needs_no_token_of_djangos_but_its_link(method):
    """202 as often as it is asked for, also where CSRF is enforced: who has no link can do nothing."""
    client = Client(enforce_csrf_checks=True)
    job = send_function(tasks.string_length, "x")
    url = urls(job)["cancel"]
    assert [getattr(client, method)(url).status_code for _ in range(2)] == [202, 202]
    assert job.refresh().state == "cancelled"


def test_a_page_of_another_site_cannot_cancel(client):
    """403, though it has the link."""
    job = send_function(tasks.string_length, "x")
    assert client.post(urls(job)["cancel"], headers=ELSEWHERE).status_code == 403
    assert job.refresh().state == "ready"


def test_a_pool_that_is_full_is_503():
    """With Retry-After, where the middleware is; other errors are left to others."""
    middleware, request = QueueFullMiddleware(lambda request: None), RequestFactory().get("/")
    answer = middleware.process_exception(request, QueueFull("as many calls wait as may"))
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert middleware.process_exception(request, ValueError()) is None


def test_a_page_of_a_trusted_site_can(client, settings):
    """One of CSRF_TRUSTED_ORIGINS."""
    settings.CSRF_TRUSTED_ORIGINS = [ELSEWHERE["Origin"]]
    assert client.post(urls(send_function(tasks.string_length, "x"))["cancel"], headers=ELSEWHERE).status_code == 202


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("https://app.example.com", 202),
        ("https://example.com", 202),
        ("http://app.example.com", 403),
        ("https://badexample.com", 403),
    ],
)
def test_a_trusted_origin_may_have_a_wildcard(client, settings, origin, code):
    """As Django has it in CSRF_TRUSTED_ORIGINS: a domain and all below it, by this scheme."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com"]
    url = urls(send_function(tasks.string_length, "x"))["cancel"]
    assert client.post(url, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"}).status_code == code


@pytest.mark.parametrize("name", ["status", "events", "result", "cancel"])
def test_each_link_opens_its_own_resource_only(client, name):
    """The others are not found with its token."""
    mine = urls(send_function(tasks.string_length, "x"))[name].removesuffix(f"/{name}")
    opened = {
        "status": client.get(mine),
        "events": client.get(f"{mine}/events"),
        "result": client.get(f"{mine}/result"),
        "cancel": client.post(f"{mine}/cancel"),
    }
    found = {each for each, answer in opened.items() if answer.status_code != 404}
    assert found == ({"status", "events"} if name in ("status", "events") else {name})


def test_the_age_of_a_link_is_that_of_its_own_alias(client, settings, monkeypatch):
    """Another alias of the same database, whose links are good for longer, does not open it."""
    backend = {"BACKEND": "django_worker.backend.WorkerBackend"}
    settings.TASKS = {
        "default": {**backend, "OPTIONS": {"MODE": "collect", "LINK_MAX_AGE_S": 60}},
        "other": {**backend, "OPTIONS": {"MODE": "collect", "LINK_MAX_AGE_S": 3600}},
    }
    job = send_function(tasks.string_length, "x")
    monkeypatch.setattr(TimestampSigner, "timestamp", lambda self: b62_encode(int(time.time()) - 100))
    old = urls(job)["status"]
    monkeypatch.undo()
    assert (client.get(old).status_code, client.get(urls(job)["status"]).status_code) == (404, 200)


def bound_link(client):
    """A link that a request of this client has bound to who makes it."""
    request = RequestFactory().post("/length")
    request.session, request.user = client.session, getattr(client, "user", None)
    url = accepted(request, send_function(tasks.string_length, "x"), bound=True)["Location"]
    request.session.save()
    return url


def test_a_bound_link_is_good_in_its_session_only(client):
    """Another browser finds nothing, though it has the link."""
    url = bound_link(client)
    assert (client.get(url).status_code, Client().get(url).status_code) == (200, 404)


def test_a_bound_link_is_good_for_its_user_everywhere():
    """On any device, and for nobody else."""
    ada, bob = (User.objects.create(username=name) for name in ("ada", "bob"))
    request = RequestFactory().post("/length")
    request.session, request.user = {}, ada
    url = accepted(request, send_function(tasks.string_length, "x"), bound=True)["Location"]
    found = []
    for user in (ada, bob):
        client = Client()
        client.force_login(user)
        found.append(client.get(url).status_code)
    assert (found, Client().get(url).status_code) == ([200, 404], 404)


def test_a_bound_link_needs_a_session_or_a_user():
    """Else it would be good for nobody: an error that says what is missing."""
    with pytest.raises(Exception, match="SessionMiddleware"):
        progress(send_function(tasks.string_length, "x"), bound_to=RequestFactory().get("/"))


async def asked_under_asgi(url, method="GET"):
    """The pieces of an answer as an ASGI server gets them, until the end or until who asks has gone."""
    scope = AsyncRequestFactory()._base_scope(path=url, method=method)
    scope["headers"] = [*scope["headers"], (b"accept-encoding", b"gzip")]
    sent: asyncio.Queue = asyncio.Queue()
    gone = asyncio.Event()

    async def receive():
        if not gone.is_set():
            gone.set()
            return {"type": "http.request", "body": b""}
        await asyncio.Event().wait()

    task = asyncio.create_task(get_asgi_application()(scope, receive, sent.put))
    return sent, task


def run_pending_and_leave():
    """In a thread that ends after it: the connection that it has opened is its own to close."""
    run_pending()
    connections.close_all()


@pytest.fixture(params=["file_database", "postgres_database"])
def shared_database(request):
    """One that other threads and processes see."""
    return request.getfixturevalue(request.param)


@pytest.mark.django_db(transaction=True)
def test_events_go_on_under_asgi(shared_database, settings):
    """One answer tells the end, though it was asked for before the job ran; no middleware gathers or compresses it."""
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    job = send_function(tasks.reports, 2)
    url = urls(job)["events"]

    async def follow():
        sent, task = await asked_under_asgi(url)
        start, body = await sent.get(), (await sent.get())["body"]
        await sync_to_async(run_pending_and_leave, thread_sensitive=False)()
        while (piece := await sent.get()).get("more_body"):
            body += piece["body"]
        await task
        return dict(start["headers"]), parsed(body)

    headers, told = asyncio.run(asyncio.wait_for(follow(), 30))
    assert (headers[b"Content-Encoding"], headers[b"X-Accel-Buffering"]) == (b"identity", b"no")
    assert told[-1].event == "end"
    site().close()


@pytest.mark.django_db(transaction=True)
def test_head_of_events_is_answered_at_once_under_asgi(file_database):
    """`curl --head` and proxies that look whether a site is there do not wait for a body that never comes."""
    url = urls(send_function(tasks.reports, 2))["events"]

    async def look():
        sent, task = await asked_under_asgi(url, "HEAD")
        await task
        return await sent.get()

    assert asyncio.run(asyncio.wait_for(look(), 10))["status"] == 200
    site().close()
