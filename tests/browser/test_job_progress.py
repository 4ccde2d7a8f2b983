"""`<job-progress>` in a real browser, in a Flask application whose jobs the test itself moves on."""

import pytest
from flask import Flask, Response, render_template_string, request

from flask_worker import FlaskWorker
from tests.browser.chromium import Chromium
from tests.helpers import eventually
from treadle import Context
from treadle.job import Ending, Failure, Outcome, Progress, Report
from treadle.testing import store_contract

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'"
)
PAGE = """<!doctype html>
<html lang="{{ lang }}"><title>A page</title>
{% for job in jobs %}{{ worker.progress(job, cancel=True, result=True, id="a%s" % loop.index, label=label) }}{% endfor %}
<script src="/listen.js"></script></html>"""
LISTEN = """
window.heard = [];
for (const name of ["state", "progress", "message", "result", "error", "end"]) {
  document.addEventListener(`job:${name}`, async (event) => {
    const value = name === "result" ? await event.detail.json() : event.detail;
    window.heard.push([name, value]);
  });
}
"""

worker = FlaskWorker()


@worker.task(takes_context=True)
def report(context: Context, name: str) -> dict[str, str]:
    return {"name": name}


@worker.task
def square(number: int) -> int:
    return number * number


class Site:
    """The application, its address, and the verbs that move its jobs on."""

    def __init__(self, serve, **config):
        self.app = make_app(**config)
        self.treadle = self.app.extensions["worker"]
        self.store = self.treadle.store
        self.asked: list[str] = []
        self.app.before_request(lambda: self.asked.append(request.path.rpartition("/")[2]))
        self.address = serve(self.app)

    def send(self):
        return self.treadle.send_function(report, "Ada")

    def link_to_read(self, job):
        return f"/worker/jobs/{self.treadle.links.token(job.id)}"

    def page_of(self, *jobs, **options):
        query = "&".join([*(f"job={job.id}" for job in jobs), *(f"{k}={v}" for k, v in options.items())])
        return f"{self.address}/page?{query}"

    def begin(self):
        """A worker takes the next job."""
        return store_contract.claim(self.store, 1)[0]

    def tell(self, row, done=None, total=None, message="", *bodies):
        progress = Progress(done, total, message) if done is not None else None
        self.store.report([Report(row.claim, progress, tuple((0, f'"{body}"') for body in bodies))], 0)

    def end(self, row, outcome):
        now_us = self.treadle.now_us()
        self.store.finish([Ending.of(row, outcome, now_us, 60)])


def make_app(**config):
    app = Flask(__name__)
    app.config.update({"TESTING": True, "SECRET_KEY": "for tests only", "WORKER_MODE": "collect", **config})
    worker.init_app(app)

    @app.get("/page")
    def page():
        jobs = [worker.job(id_) for id_ in request.args.getlist("job")]
        return render_template_string(
            PAGE, jobs=jobs, lang=request.args.get("lang", "en"), label=request.args.get("label")
        )

    @app.get("/listen.js")
    def listen():
        return Response(LISTEN, mimetype="text/javascript")

    @app.get("/favicon.ico")
    def icon():
        return Response(status=204)

    @app.post("/send")
    def send():
        return worker.accepted(worker.send_function(report, "Ada"))

    @app.after_request
    def forbid_what_is_inline(answer):
        answer.headers["Content-Security-Policy"] = STRICT + "; img-src 'self'"
        return answer

    return app


@pytest.fixture(scope="module")
def site(serve):
    return Site(serve)


@pytest.fixture
def page(chromium: Chromium):
    with chromium.page(locale="en-GB") as page:
        yield page
        assert page.complaints == []


def heard(page, name):
    """What was told to the page under this name."""
    return [value for kind, value in page.evaluate("window.heard") if kind == name]


def test_it_follows_a_job_to_its_end(site, page):
    """State, progress and messages as they come; then the link to the result, and no more questions."""
    job = site.send()
    page.goto(site.page_of(job, label="The report"))
    page.says("Waiting for a free worker")
    row = site.begin()
    site.tell(row, 1, 4, "reading", "hello <b>there</b>")
    page.says("Running · 1 of 4 · reading")
    page.says("hello <b>there</b>", "job-progress li")
    assert page.inner_text("job-progress .percent") == "25 %"
    site.end(row, Outcome.succeeded('{"name":"Ada"}'))
    page.says("Done")
    assert page.inner_text("job-progress .result") == "Download the result"
    page.until("window.heard.some(([name]) => name === 'result')")
    assert heard(page, "result") == [{"name": "Ada"}]
    assert [each["state"] for each in heard(page, "state")] == ["ready", "running", "succeeded"]
    assert not page.is_visible("job-progress .cancel")


def test_it_uses_events_and_stops_when_the_job_has_ended(site, page):
    """It asks for events only, and after the end for nothing."""
    job = site.send()
    site.asked.clear()
    page.goto(site.page_of(job))
    site.end(site.begin(), Outcome.succeeded("1"))
    page.until("window.heard.some(([name]) => name === 'end')")
    assert set(site.asked) <= {"page", "listen.js", "job-progress.js", "favicon.ico", "events", "result"}
    asked = site.asked.count("events")
    page.wait_for_timeout(1200)
    assert site.asked.count("events") == asked


def test_without_events_it_asks_for_the_status(site, page):
    """Where EventSource is missing, or a proxy spoils it: by ETag, as Retry-After says."""
    page.add_init_script("delete window.EventSource")
    job = site.send()
    site.asked.clear()
    page.goto(site.page_of(job))
    page.says("Waiting for a free worker")
    row = site.begin()
    site.tell(row, 3, 4, "", "one")
    page.says("Running · 3 of 4")
    site.end(row, Outcome.succeeded('{"name":"Ada"}'))
    page.until("window.heard.some(([name]) => name === 'result')")
    assert ("events" not in site.asked, heard(page, "result")) == (True, [{"name": "Ada"}])
    assert heard(page, "message") == [{"number": 1, "body": "one"}]


def test_events_that_fail_twice_are_given_up(site, page):
    """The status goes on where a proxy answers for the stream."""
    page.route("**/events*", lambda route: route.abort())
    job = site.send()
    page.goto(site.page_of(job))
    page.says("Waiting for a free worker")
    site.end(site.begin(), Outcome.succeeded("1"))
    page.says("Done")
    page.complaints.clear()


def test_a_page_of_many_jobs_has_one_stream(site, page):
    """Each element hears of its own job."""
    jobs = [site.send() for _ in range(7)]
    site.asked.clear()
    page.goto(site.page_of(*jobs))
    page.until("document.querySelectorAll('job-progress[data-state=ready]').length === 7")
    assert site.asked.count("events") == 1
    site.store.cancel([jobs[3].id], 0)
    page.wait_for_selector("#a4[data-state=cancelled]")
    assert page.evaluate("document.querySelectorAll('[data-state=ready]').length") == 6
    site.store.cancel([job.id for job in jobs], 0)


def test_a_hidden_page_asks_for_nothing(site, page):
    """And goes on when it is seen again."""
    page.add_init_script(
        "let hidden = false; Object.defineProperty(document, 'hidden', { get: () => hidden });"
        "window.hide = (value) => { hidden = value; document.dispatchEvent(new Event('visibilitychange')); };"
    )
    job = site.send()
    page.goto(site.page_of(job))
    page.says("Waiting for a free worker")
    page.evaluate("hide(true)")
    page.wait_for_timeout(200)
    asked = site.asked.count("events")
    page.wait_for_timeout(1000)
    assert site.asked.count("events") == asked
    job.cancel()
    page.evaluate("hide(false)")
    page.says("Cancelled")


def test_the_button_cancels(site, page):
    """By keyboard as well as by mouse; it is there where the link allows it, as long as the job has not ended."""
    job = site.send()
    page.goto(site.page_of(job))
    page.focus("job-progress .cancel")
    page.press("job-progress .cancel", "Enter")
    page.says("Cancelled")
    assert (job.refresh().state, page.is_visible("job-progress .cancel")) == ("cancelled", False)
    assert [each["state"] for each in heard(page, "error")] == ["cancelled"]


def test_a_job_that_failed_says_so_and_not_why(site, page):
    """`job:error` tells it to the page."""
    job = site.send()
    page.goto(site.page_of(job))
    site.end(site.begin(), Outcome.raised(Failure("builtins.ValueError", "secret of the house"), None))
    page.says("The job failed.")
    assert heard(page, "error") == [{"state": "failed", "error": "The job failed."}]
    assert "secret" not in page.content()


def test_a_link_that_opens_nothing(site, page):
    """Is told in a sentence, once."""
    page.goto(site.page_of(site.send()))
    page.says("Waiting")
    page.evaluate("document.querySelector('job-progress').src = 0; a1.setAttribute('src', '/worker/jobs/forged')")
    page.says("There is no such job, or the link to it has expired.")
    page.complaints.clear()


def test_a_map_shows_its_parts_and_how_much_faster_it_goes(site, page):
    """A cell for each part."""
    whole = site.treadle.send_map(square, [1, 2, 3, 4], parts=4)
    page.goto(site.page_of(whole))
    page.until("document.querySelector('job-progress').shadowRoot.querySelectorAll('.cells .w').length === 4")
    site.treadle.run_pending()
    page.says("Done · 4 of 4")
    page.until("document.querySelector('job-progress').shadowRoot.querySelectorAll('.cells .s').length === 4")


def test_its_colours_are_those_of_the_page(site, page):
    """Also where the page's own variables have the names that come to mind first."""
    page.goto(site.page_of(site.send()))
    page.evaluate(
        "a1.style.setProperty('--accent', 'rgb(1, 2, 3)'); a1.style.setProperty('--job-accent', 'var(--accent)')"
    )
    assert page.evaluate("getComputedStyle(a1.bar).color") == "rgb(1, 2, 3)"


def test_a_script_may_give_the_links(site, page):
    """`element.follow(urls)`, with those of the answer that sent the job: the button and the result come with them."""
    page.goto(site.page_of(site.send()))
    page.evaluate("fetch('/send', {method: 'POST'}).then(a => a.json()).then(({urls}) => a1.follow(urls))")
    page.until("a1.shadowRoot.querySelector('.cancel').checkVisibility()")
    site.treadle.run_pending()
    page.until("window.heard.some(([name]) => name === 'result')")
    assert heard(page, "result") == [{"name": "Ada"}]


@pytest.mark.parametrize(("lang", "waits", "runs", "done"), [
    ("zh-CN", "正在等待空闲的工作进程", "正在运行 · 2 / 5", "已完成"),
    ("de", "Waiting for a free worker", "Running · 2 of 5", "Done"),
], ids=["Chinese", "another"])  # fmt: skip
def test_it_speaks_the_language_of_its_page(site, page, lang, waits, runs, done):
    """Simplified Chinese, and English for all others."""
    job = site.send()
    page.goto(site.page_of(job, lang=lang))
    page.says(waits)
    row = site.begin()
    site.tell(row, 2, 5)
    page.says(runs)
    site.end(row, Outcome.succeeded("1"))
    page.says(done)


def test_a_screen_reader_is_told_states_and_quarters(site, page):
    """In a live region, and not each step; the bar has a name."""
    job = site.send()
    page.goto(site.page_of(job, label="The report"))
    page.says("Waiting for a free worker", "job-progress .said[role=status]")
    row = site.begin()
    site.tell(row, 26, 100)
    page.says("25 %", "job-progress .said")
    assert page.get_attribute("job-progress progress", "aria-label") == "The report"
    site.end(row, Outcome.succeeded("1"))
    page.says("Done", "job-progress .said")


def test_the_waiting_page_from_form_to_result(site, page):
    """A form that sends a job leads to a page that follows it; strict policy and all."""
    page.goto(site.page_of(site.send()))
    page.evaluate("const f = Object.assign(document.createElement('form'), {method: 'post', action: '/send'});"
                  "document.body.append(f); f.submit()")  # fmt: skip
    page.wait_for_selector("h1:has-text('Your request is being worked on')")
    row = [site.begin(), site.begin()][-1]
    site.tell(row, 1, 2, "half")
    page.says("Running · 1 of 2 · half")
    site.end(row, Outcome.succeeded('{"name":"Ada"}'))
    page.says("Done")
    assert page.get_attribute("job-progress .result", "href").endswith("/result")


def test_without_scripts_the_page_reloads_by_itself(site, chromium):
    """And shows the same, with a button that cancels."""
    with chromium.page(java_script_enabled=False) as page:
        page.goto(f"{site.address}/page?job={site.send().id}")
        src = page.get_attribute("job-progress", "src")
        page.goto(f"{site.address}{src}")
        page.says("Waiting for a free worker", "job-progress p")
        page.click("job-progress button")
        page.says("The job was cancelled.", "job-progress p")


@pytest.mark.parametrize("lang", ["en_GB", "a sentence"])
def test_a_language_that_there_is_not_is_no_harm(site, page, lang):
    """`<html lang="en_GB">` is a common mistake, of which no browser says anything: English, and its numbers."""
    job = site.send()
    page.goto(site.page_of(job, lang=lang))
    page.says("Waiting for a free worker")
    site.end(site.begin(), Outcome.succeeded("1"))
    page.says("Done")


def test_links_that_a_script_gave_go_with_their_job(site, page):
    """The button is not there for another job, which it would not cancel."""
    page.goto(site.page_of(site.send()))
    page.evaluate("fetch('/send', {method: 'POST'}).then(a => a.json()).then(({urls}) => a1.follow(urls))")
    page.until("a1.shadowRoot.querySelector('.cancel').checkVisibility()")
    page.evaluate(f"a1.setAttribute('src', '{site.link_to_read(site.send())}')")
    page.says("Waiting for a free worker")
    assert not page.is_visible("job-progress .cancel")
    site.treadle.run_pending()


def test_one_that_has_ended_may_be_moved(site, page):
    """In the page, as scripts that sort a table do: it says what it said, tells nothing twice, and asks no more."""
    job = site.send()
    page.goto(site.page_of(job))
    site.end(site.begin(), Outcome.succeeded("1"))
    page.until("window.heard.some(([name]) => name === 'end')")
    asked = site.asked.count("events")
    page.evaluate("document.body.prepend(document.createElement('hr')); document.body.prepend(a1)")
    page.says("Done")
    page.wait_for_timeout(300)
    assert (len(heard(page, "end")), site.asked.count("events")) == (1, asked)


def test_links_too_long_for_one_address_are_followed_by_several_streams(site, page):
    """gunicorn refuses a request line of more than 4094 characters, and twenty long links have more."""
    page.goto(site.page_of(site.send()))
    lengths: list[int] = []
    page.on("request", lambda request: lengths.append(len(request.url)))
    page.evaluate(
        "document.body.append(...[...Array(20).keys()].map((number) => { const made = document.createElement("
        "'job-progress'); made.setAttribute('src', `/worker/jobs/${'x'.repeat(220)}${number}`); return made; }))"
    )
    page.until("document.querySelectorAll('job-progress[data-state=gone]').length === 20")
    assert 2000 < max(lengths) < 4000
    page.complaints.clear()


def test_a_connection_that_was_lost_is_not_told_of_any_longer(site, page):
    """When it is back, also where the job is as it was: with the first answer."""
    page.add_init_script("const slow = setTimeout; window.setTimeout = (then, ms) => slow(then, ms / 10)")
    page.route("**/events*", lambda route: route.abort())
    page.goto(site.page_of(site.send()))
    page.says("Waiting for a free worker")
    page.route("**/jobs/*", lambda route: route.abort())
    page.says("No connection; trying again …")
    site.asked.clear()
    page.unroute("**/jobs/*")
    eventually(lambda: len(site.asked) >= 2)
    assert page.inner_text("job-progress .state") == "Waiting for a free worker"
    page.complaints.clear()
