"""Async views: the twins to await, in Flask's own event loop."""

import pytest
from tests.flask_worker.site import fail, string_length, worker

from treadle.errors import JobFailed, JobNotFound


@pytest.fixture
def view(make_app):
    """Calls a coroutine function as a view of an application in mode immediate, and gives what it returned."""

    def call(function):
        app = make_app(WORKER_MODE="immediate")
        app.add_url_rule("/view", view_func=function)
        return app.test_client().get("/view").json

    return call


def test_a_view_awaits_a_send_and_its_result(view):
    """Without a thread of Flask's that stands still: `asend_function`, `aresult`."""

    async def send():
        job = await worker.asend_function(string_length, "abc")
        return {"state": job.state, "result": await job.aresult()}

    assert view(send) == {"state": "succeeded", "result": 3}


def test_a_view_awaits_a_look(view):
    """`ajob`, `ajobs` and `arefresh` work on the application of the request."""

    async def look():
        sent = await worker.asend_many([string_length.bind("a"), string_length.bind("bc")])
        found = [(await (await worker.ajob(job.id)).arefresh()).id for job in sent]
        return {"same": found == [job.id for job in sent], "count": len(await worker.ajobs(task=string_length.name))}

    assert view(look) == {"same": True, "count": 2}


def test_a_map_is_awaited_too(view):
    """`asend_map`."""

    async def send():
        return [await (await worker.asend_map(string_length, ["a", "bc"])).aresult()]

    assert view(send) == [[1, 2]]


def test_errors_come_where_they_are_awaited(view):
    """As from the verbs that wait."""

    async def ask():
        told = []
        job = await worker.asend_function(fail, "bad")
        for wrong in (job.aresult(), worker.ajob("nowhere")):
            try:
                await wrong
            except (JobFailed, JobNotFound) as error:
                told.append(type(error).__name__)
        return told

    assert view(ask) == ["JobFailed", "JobNotFound"]


def test_an_async_view_answers_as_any_other(view):
    """`worker.accepted` needs no await."""

    async def answer():
        return worker.accepted(await worker.asend_function(string_length, "abc"))

    assert set(view(answer)["urls"]) >= {"status", "result", "events"}
