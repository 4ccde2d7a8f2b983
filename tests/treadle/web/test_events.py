"""What is told to EventSource, without any framework."""

import json

import pytest
from tests import apps
from tests.treadle.web.sse import parsed

from treadle.app import Treadle
from treadle.web import events
from treadle.web.desk import Desk
from treadle.web.links import Links
from treadle.web.pace import Pace
from treadle.web.requests import Asked
from treadle.web.watching import Watcher


class PlainSigner:
    """Signs nothing: who may look is tested elsewhere."""

    def sign(self, value):
        return json.dumps(value, separators=(",", ":"))

    def unsign(self, token, max_age_s):
        try:
            return json.loads(token)
        except ValueError:
            return None


@pytest.fixture
def app():
    return Treadle("memory://", registry=apps.app.registry, mode="collect")


@pytest.fixture
def links():
    return Links(PlainSigner(), max_age_s=60)


@pytest.fixture
def ask(app, links):
    """Asks for the events of these tokens."""

    def find(token, scope):
        grant = links.opened(token, scope)
        return grant, app.job(grant.job_id)

    def ask(*tokens, last=None, asked=Asked()):
        desk = Desk(asked, find, lambda name, token: f"/{name}/{token}", app._clock.now_us())
        return desk.events(tokens, last, Pace())

    return ask


def test_an_answer_is_finite_and_has_a_length(app, links, ask):
    """It has headers that let nobody keep, gather or change it."""
    token = links.token(app.send_function(apps.string_length, "abc").id)
    answer = ask(token).answer
    assert (answer.status, answer.headers) == (
        200,
        {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store, no-transform",
            "X-Accel-Buffering": "no",
            "Content-Length": str(len(answer.body)),
        },
    )


def test_it_begins_with_retry_and_with_an_id_alone(app, links, ask):
    """So who loses the connection at once comes back, with what it knows."""
    token = links.token(app.send_function(apps.string_length, "abc").id)
    first, *_ = parsed(ask(token).answer.body)
    assert (first.id, first.data, first.event) == ("0-0", None, None)
    assert 400 <= first.retry <= 600


def test_the_news_of_a_job_in_their_order(app, links, ask):
    """State, progress, each message, the link to the result, the end; the last of them carries the id."""
    job = app.send_function(apps.count_to, 4)
    app.run_pending()
    told = parsed(ask(links.token(job.id, "read", "result")).answer.body)[1:]
    assert [each.event for each in told] == ["state", "progress", "message", "message", "result", "end"]
    state, progress, message, _, result, end = (each.json() for each in told)
    assert (state["state"], state["urls"]["status"]) == ("succeeded", state["src"])
    assert (progress["done"], progress["total"], message["body"]) == (4, 4, {"counted": 4})
    assert (result["url"].startswith("/result/"), end["state"]) == (True, "succeeded")
    assert [each.id for each in told] == [None] * 5 + [f"{job.refresh().version}-2"]


def test_a_link_that_may_only_follow_is_not_told_where_the_result_is(app, links, ask):
    """`result` is a right of its own."""
    job = app.send_function(apps.string_length, "abc")
    app.run_pending()
    assert "result" not in [each.event for each in parsed(ask(links.token(job.id)).answer.body)]


def test_who_comes_back_is_told_what_is_new_and_then_nothing_more(app, links, ask):
    """204 after the end: EventSource asks no more."""
    token = links.token(app.send_function(apps.count_to, 4).id)
    last = parsed(ask(token).answer.body)[-1].id
    assert len(parsed(ask(token, last=last).answer.body)) == 1
    app.run_pending()
    news = parsed(ask(token, last=last).answer.body)
    assert [each.event for each in news[1:]] == ["state", "progress", "message", "message", "end"]
    assert ask(token, last=news[-1].id).answer.status == 204


def test_only_messages_that_were_not_told_are_told(app, links, ask):
    """By their numbers, which are the store's."""
    job = app.send_function(apps.count_to, 4)
    app.run_pending()
    news = parsed(ask(links.token(job.id), last="1-1").answer.body)
    assert [each.json()["number"] for each in news if each.event == "message"] == [2]


def test_several_jobs_in_one_stream(app, links, ask):
    """Each event says whose it is; the stream ends with the last of them."""
    done, waits = app.send_function(apps.string_length, "a"), app.send_function(apps.string_length, "b")
    waits_token, done_token = links.token(waits.id), links.token(done.id)
    app.store.cancel([done.id], 0)
    found = ask(done_token, waits_token)
    told = parsed(found.answer.body)
    assert {each.json()["src"] for each in told[1:]} == {f"/status/{done_token}", f"/status/{waits_token}"}
    assert (told[-1].id.count("."), found.goes_on) == (1, True)
    app.run_pending()
    news = ask(done_token, waits_token, last=told[-1].id)
    assert {each.json()["src"] for each in parsed(news.answer.body)[1:]} == {f"/status/{waits_token}"}
    assert not news.goes_on


def test_a_link_that_opens_nothing_ends_for_itself(app, links, ask):
    """The others go on; it is told once."""
    token = links.token(app.send_function(apps.string_length, "abc").id)
    told = parsed(ask("forged", token).answer.body)
    assert told[1].json() == {
        "src": "/status/forged",
        "state": None,
        "error": "There is no such job, or the link to it has expired.",
    }
    assert len(parsed(ask("forged", token, last=told[-1].id).answer.body)) == 1


@pytest.mark.parametrize("text", ["", "a/b", "é", "x" * 3000, "../../etc"])
def test_what_could_be_no_token_is_no_part_of_an_address(app, links, ask, text):
    """It ends for itself, and no framework is asked to make an address of it."""
    token = links.token(app.send_function(apps.string_length, "abc").id)
    assert parsed(ask(text, token).answer.body)[1].json()["src"] == ""


def test_links_that_all_open_nothing_are_not_found(ask):
    """404, as for any other resource, and for who comes back 204: it was told."""
    assert ask("forged").answer.status == 404
    assert ask("forged", last="100000000000000000-0").answer.status == 204


@pytest.mark.parametrize("count", [0, events.MOST_JOBS + 1])
def test_a_stream_has_a_bounded_number_of_jobs(ask, count):
    """None and too many are refused."""
    assert ask(*["x"] * count).answer.status == 400


@pytest.mark.parametrize("last", ["", "1", "1-1.2-2", "x", "-", "1-", "1-1\n", "9" * 30 + "-0", "١-١"])
def test_an_id_that_is_not_ours_is_as_none(app, links, ask, last):
    """Everything is told anew."""
    token = links.token(app.send_function(apps.string_length, "abc").id)
    assert [each.event for each in parsed(ask(token, last=last).answer.body)] == [None, "state", "progress"]


def test_the_text_of_an_error_is_told_for_debugging_only(app, links, ask):
    """As in the status."""
    job = app.send_function(apps.fail, "secret of the house")
    app.run_pending()
    assert b"secret" not in ask(links.token(job.id)).answer.body
    assert b"secret" in ask(links.token(job.id), asked=Asked(debug=True)).answer.body


def test_a_text_cannot_forge_an_event(app, links, ask):
    """Whatever a job says stays within the data of its own event."""
    job = app.send_function(apps.send_message, "x\n\nevent: end\ndata: {}\r\r\u2028")
    app.run_pending()
    told = parsed(ask(links.token(job.id)).answer.body)
    assert [each.event for each in told] == [None, "state", "progress", "message", "end"]
    assert told[3].json()["body"] == "x\n\nevent: end\ndata: {}\r\r\u2028"


def test_an_idle_watcher_has_no_thread(app):
    """It begins with the first follower."""
    assert Watcher(lambda: app.store)._thread is None
