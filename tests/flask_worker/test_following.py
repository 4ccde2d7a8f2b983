"""How a browser follows a job in Flask: the page, the events, the button, and who may."""

import pytest
from flask import Flask, render_template_string, session
from tests.flask_worker.site import count_to, string_length, worker
from tests.treadle.web.sse import parsed

from flask_worker import FlaskWorker
from treadle.errors import QueueFull

A_BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
CHINESE = {**A_BROWSER, "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


def sent_by(client, **options):
    return client.post("/length", data="abc", **options)


def urls_of(app, job, **options):
    with app.test_request_context():
        return worker.urls(job, **options)


# The page


def test_a_form_is_led_to_a_page_that_waits(client):
    """303 for who would rather have HTML; the page follows the job, and works without scripts."""
    answer = sent_by(client, headers=A_BROWSER)
    assert answer.status_code == 303
    page = client.get(answer.headers["Location"], headers=A_BROWSER)
    assert (page.status_code, page.mimetype, page.headers["Referrer-Policy"]) == (200, "text/html", "same-origin")
    assert f'<job-progress src="{answer.headers["Location"]}"' in page.text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.text
    assert "Waiting for a free worker" in page.text


def test_the_page_of_a_job_that_has_ended_reloads_no_more(client):
    """It says so, and has a link to the result."""
    place = sent_by(client, headers=A_BROWSER).headers["Location"]
    worker.run_pending()
    page = client.get(place, headers=A_BROWSER).text
    assert ("http-equiv" not in page, "Done" in page) == (True, True)
    assert f'<a href="{place}/result" download="result.json">' in page


def test_the_page_speaks_chinese(client):
    """To browsers that prefer it."""
    page = client.get(sent_by(client, headers=CHINESE).headers["Location"], headers=CHINESE).text
    assert ('<html lang="zh-CN">' in page, "正在等待空闲的工作进程" in page) == (True, True)


def test_a_person_with_a_link_that_opens_nothing_is_told_so_in_a_page(client):
    """404, and a sentence."""
    page = client.get("/worker/jobs/forged", headers=A_BROWSER)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is no such job" in page.text


def test_the_page_has_nothing_inline(client):
    """No script and no style of its own, so that the strictest Content-Security-Policy lets it be."""
    page = client.get(sent_by(client, headers=A_BROWSER).headers["Location"], headers=A_BROWSER).text
    assert ("<style" not in page, "style=" not in page, " on" + "click" not in page) == (True, True, True)
    assert page.count("<script") == page.count('<script type="module" src=') == 1


def test_what_a_job_says_is_text_in_the_page(app, client):
    """Markup in it is shown, not obeyed."""
    job = worker.send_function(string_length, "abc")
    row = app.extensions["worker"].store._tables.jobs[job.id]
    app.extensions["worker"].store._change(row, progress=type(row.progress)(1, 2, "<img src=x>"))
    page = client.get(urls_of(app, job)["status"], headers=A_BROWSER).text
    assert ("&lt;img src=x&gt;" in page, "<img" not in page) == (True, True)


def test_a_template_of_the_application_goes_before_ours(tmp_path):
    """`templates/worker/job.html` of the application is shown instead."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "job.html").write_text("Ours: {{ page.title }}")
    app = Flask(__name__, template_folder=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="for tests only", WORKER_MODE="collect")
    own = FlaskWorker(app)
    with app.test_request_context():
        url = own.urls(own.send_function(own.task(string_length.function), "abc"))["status"]
    assert app.test_client().get(url, headers=A_BROWSER).text == "Ours: Your request is being worked on"


@pytest.mark.parametrize(("name", "kind"), [("job-progress.js", "text/javascript"), ("page.css", "text/css")])
def test_files_of_the_page_may_be_kept_for_ever_under_their_version(client, name, kind):
    """And are asked for again without it."""
    page = client.get(sent_by(client, headers=A_BROWSER).headers["Location"], headers=A_BROWSER).text
    [place] = [part.split('"')[0] for part in page.split('"/worker/assets/')[1:] if part.startswith(name)]
    kept, other = (client.get(f"/worker/assets/{each}") for each in (place, name))
    assert (kept.mimetype, "immutable" in kept.headers["Cache-Control"]) == (kind, True)
    assert other.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["other.js", "..%2Flinks.py", "%2Fetc%2Fpasswd", "job-progress.js%00"])
def test_there_are_no_other_files(client, name):
    """Names are compared, and no path is made of them."""
    assert client.get(f"/worker/assets/{name}").status_code == 404


# The tag


def test_the_tag_follows_the_job_in_any_template(app):
    """`{{ worker.progress(job) }}`: the element and its script, with a link that only reads."""
    job = worker.send_function(count_to, 4)
    with app.test_request_context():
        shown = render_template_string("{{ worker.progress(job, label='<A & \"B\">') }}", job=job)
        [src] = [part.split('"')[0] for part in shown.split('src="')[1:2]]
        assert app.test_client().get(src).json["urls"].keys() == {"status", "events"}
    assert 'label="&lt;A &amp; &quot;B&quot;&gt;"' in shown
    assert '<script type="module" src="/worker/assets/job-progress.js?v=' in shown


def test_the_tag_may_have_a_button_and_a_link(app):
    """As far as its link goes."""
    job = worker.send_function(count_to, 4)
    with app.test_request_context():
        shown = worker.progress(job, cancel=True, result=True, nonce="n", class_="wide", messages=0)
    assert (' nonce="n"' in shown, ' class="wide"' in shown, ' messages="0"' in shown) == (True, True, True)
    src = shown.split('src="')[1].split('"')[0]
    assert app.test_client().get(src).json["urls"].keys() == {"status", "events", "result", "cancel"}


# Events


def test_events_are_finite_and_go_on_where_they_were(app, client):
    """Each answer has a length; who comes back with its last id is told what is new, and 204 after the end."""
    urls = urls_of(app, worker.send_function(count_to, 4))
    first = client.get(urls["events"])
    assert (first.status_code, first.mimetype) == (200, "text/event-stream")
    assert first.headers["Content-Length"] == str(len(first.data))
    worker.run_pending()
    news = client.get(urls["events"], headers={"Last-Event-ID": parsed(first.data)[-1].id})
    assert [each.event for each in parsed(news.data)][-1] == "end"
    last = parsed(news.data)[-1].id
    assert client.get(urls["events"], headers={"Last-Event-ID": last}).status_code == 204
    assert client.get(urls["events"], query_string={"after": last}).status_code == 204


def test_several_jobs_in_one_stream(app, client):
    """`/events?job=…&job=…`, so that a page with many jobs needs one connection."""
    urls = [urls_of(app, worker.send_function(string_length, "x"))["status"] for _ in range(3)]
    tokens = [url.rpartition("/")[2] for url in urls]
    told = parsed(client.get("/worker/events", query_string=[("job", token) for token in tokens]).data)
    assert {each.json()["src"] for each in told[1:]} == set(urls)


def test_a_stream_of_no_jobs_is_refused_in_the_language_of_who_asks(client):
    """As `Content-Language` says it."""
    answer = client.get("/worker/events", headers={"Accept-Language": "zh"})
    assert (answer.status_code, answer.headers["Content-Language"]) == (400, "zh")
    assert answer.json["detail"] == "一个事件流跟踪 1 到 50 个任务，每个写作 ?job=…；收到 0 个。"


# Cancel


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_cancel_by_its_link(app, client, method):
    """202 as often as it is asked for."""
    job = worker.send_function(string_length, "abc")
    url = urls_of(app, job)["cancel"]
    assert [client.open(url, method=method).status_code for _ in range(2)] == [202, 202]
    assert job.refresh().state == "cancelled"


def test_cancel_by_deleting_the_status(app, client):
    """Where that link allows it."""
    job = worker.send_function(string_length, "abc")
    with app.test_request_context():
        src = worker.progress(job, cancel=True).split('src="')[1].split('"')[0]
    assert client.delete(src).json["state"] == "cancelled"


def test_a_form_that_cancels_is_led_back_to_the_page(client):
    """For browsers without scripts."""
    place = sent_by(client, headers=A_BROWSER).headers["Location"]
    answer = client.post(f"{place}/cancel", headers=A_BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (303, place)


@pytest.mark.parametrize("headers", [ELSEWHERE, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}])
def test_a_page_of_another_site_cannot_cancel(app, client, headers):
    """403, though it has the link: browsers say where a request comes from."""
    job = worker.send_function(string_length, "abc")
    assert client.post(urls_of(app, job)["cancel"], headers=headers).status_code == 403
    assert job.refresh().state == "ready"


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}, {}])
def test_a_page_of_this_site_and_a_program_can(app, client, headers):
    """A program sends neither header."""
    job = worker.send_function(string_length, "abc")
    assert client.post(urls_of(app, job)["cancel"], headers=headers).status_code == 202


# A pool that is full


def test_a_pool_that_is_full_is_503(app):
    """With Retry-After, from any view; unless the application has a handler of its own."""

    @app.get("/full")
    def full():
        raise QueueFull("as many calls wait as may")

    answer = app.test_client().get("/full")
    assert (answer.status_code, answer.headers["Retry-After"], answer.mimetype) == (
        503,
        "1",
        "application/problem+json",
    )
    page = app.test_client().get("/full", headers=CHINESE)
    assert (page.status_code, page.mimetype, "请稍后再试" in page.text) == (503, "text/html", True)
    assert page.headers["Retry-After"] == "1"
    app._got_first_request = False
    app.register_error_handler(QueueFull, lambda error: "later")
    assert app.test_client().get("/full").text == "later"


def test_a_handler_that_was_there_before_is_kept():
    """An application that has its own for QueueFull loses it by no `init_app`."""
    app = Flask(__name__)
    app.register_error_handler(QueueFull, lambda error: "earlier")
    app.config.update(TESTING=True, SECRET_KEY="for tests only", WORKER_MODE="collect")
    FlaskWorker(app)

    @app.get("/full")
    def full():
        raise QueueFull("as many calls wait as may")

    assert app.test_client().get("/full").text == "earlier"


# Who may


@pytest.mark.parametrize("name", ["status", "events", "result", "cancel"])
def test_each_link_opens_its_own_resource_only(app, client, name):
    """The others are not found with its token."""
    urls = urls_of(app, worker.send_function(string_length, "abc"))
    mine = urls[name].removesuffix(f"/{name}")
    opened = {
        "status": client.get(mine),
        "events": client.get(f"{mine}/events"),
        "result": client.get(f"{mine}/result"),
        "cancel": client.post(f"{mine}/cancel"),
    }
    found = {each for each, answer in opened.items() if answer.status_code != 404}
    assert found == ({"status", "events"} if name in ("status", "events") else {name})


def test_a_bound_link_is_good_in_its_session_only(app):
    """Another browser finds nothing, though it has the link."""

    @app.get("/send-bound")
    def send_bound():
        return worker.accepted(worker.send_function(string_length, "abc"), bound=True)

    mine, other = app.test_client(), app.test_client()
    url = mine.get("/send-bound").json["urls"]["status"]
    assert (mine.get(url).status_code, other.get(url).status_code) == (200, 404)
    with mine.session_transaction() as kept:
        kept.clear()
    assert mine.get(url).status_code == 404


def test_a_link_may_be_bound_to_a_user():
    """Whom `identify` names; on any device, and not after logging out."""
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="for tests only", WORKER_MODE="collect")
    own = FlaskWorker(app, identify=lambda: session.get("user"))
    task = own.task(string_length.function)

    @app.get("/login/<name>")
    def login(name):
        session["user"] = name
        return own.accepted(own.send_function(task, "abc"), bound=True)

    desk, phone, other = (app.test_client() for _ in range(3))
    url = desk.get("/login/ada").json["urls"]["status"]
    for client, name in ((phone, "ada"), (other, "bob")):
        client.get(f"/login/{name}")
    assert [client.get(url).status_code for client in (desk, phone, other)] == [200, 200, 404]


def test_a_link_may_end_soon(app, client):
    """`expires_in_s` says how soon."""
    job = worker.send_function(string_length, "abc")
    assert client.get(urls_of(app, job, expires_in_s=60)["status"]).status_code == 200
    assert client.get(urls_of(app, job, expires_in_s=-2)["status"]).status_code == 404


def test_links_may_allow_less(app):
    """`scopes` says what: without `cancel` there is no such link."""
    job = worker.send_function(string_length, "abc")
    assert urls_of(app, job, scopes=("read", "result")).keys() == {"status", "events", "result"}
    with app.test_request_context():
        assert worker.accepted(job, scopes=()).json["urls"].keys() == {"status", "events"}


def test_a_secret_may_be_rotated(make_app):
    """Links that were signed with a key in SECRET_KEY_FALLBACKS are good; without it no longer."""
    app = make_app()
    with app.app_context():
        url = urls_of(app, worker.send_function(string_length, "abc"))["status"]
    app.config.update(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["for tests only"])
    assert app.test_client().get(url).status_code == 200
    app.config.update(SECRET_KEY_FALLBACKS=[])
    assert app.test_client().get(url).status_code == 404
