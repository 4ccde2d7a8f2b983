"""What is answered about a job, without any framework."""

import json
import os

import pytest
from tests import apps

from treadle.app import Treadle
from treadle.job import Ending, Outcome, Progress, Report
from treadle.testing import store_contract
from treadle.web import problems, resources
from treadle.web.requests import Asked

URLS = {"status": "/jobs/x", "result": "/jobs/x/result"}
DEBUG = Asked(debug=True)
IN_CHINESE = Asked(headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})


@pytest.fixture
def app():
    return Treadle("memory://", registry=apps.app.registry, mode="collect")


def status(job, if_none_match=None, asked=None, after_s=0):
    asked = asked or Asked(headers={"If-None-Match": if_none_match})
    return resources.status(job, URLS, asked, job.row.enqueued_at_us + after_s * 1_000_000)


def result(job, asked=Asked()):
    return resources.result(job, asked, job.row.enqueued_at_us)


def body(answer):
    return json.loads(answer.body)


def claim(app):
    """What a worker does before it runs a job."""
    return store_contract.claim(app.store, 1)[0].claim


def ran(app, task, *args):
    app.send_function(task, *args)
    return app.run_pending()[0]


def test_accepted_tells_where_to_look(app):
    """Sending is answered with 202, the address of the status, when to look there, and all the addresses."""
    job = app.send_function(apps.string_length, "abc")
    answer = resources.accepted(job, URLS)
    assert (answer.status, answer.headers["Location"], answer.headers["Retry-After"]) == (202, "/jobs/x", "1")
    assert body(answer) == {"id": job.id, "state": "ready", "urls": URLS}


def test_status_tells_everything_that_its_reader_may_know(app):
    """The status has the state, the progress, the messages, the error and the addresses, and no more."""
    job = ran(app, apps.count_to, 4)
    answer = status(job)
    assert body(answer) == {
        "id": job.id,
        "state": "succeeded",
        "cancel_requested": False,
        "progress": {"done": 4.0, "total": 4.0, "fraction": 1.0, "message": "step 4"},
        "parts": None,
        "messages": [{"number": 1, "body": {"counted": 4}}, {"number": 2, "body": "done"}],
        "error": None,
        "urls": URLS,
    }


@pytest.mark.parametrize(("end", "again"), [("waits", "1"), ("runs", "1"), ("succeeds", None), ("is cancelled", None)])
def test_status_says_when_to_look_again(app, end, again):
    """The status is 200 in every state, and names a time for the next look as long as there will be news."""
    job = app.send_function(apps.string_length, "abc")
    {"waits": list, "runs": lambda: claim(app), "succeeds": app.run_pending, "is cancelled": job.cancel}[end]()
    answer = status(job.refresh())
    assert (answer.status, answer.headers.get("Retry-After")) == (200, again)


def test_status_of_a_running_job_tells_that_it_is_to_end(app):
    """Who follows a job that was cancelled while it runs sees that at once, under a new ETag, and then its end."""
    job = app.send_function(apps.string_length, "abc")
    (claimed,) = store_contract.claim(app.store, 1)
    seen = status(job.refresh()).headers["ETag"]
    job.cancel()
    answer = status(job.refresh(), seen)
    assert (body(answer)["state"], body(answer)["cancel_requested"]) == ("running", True)
    app.store.finish([Ending.of(claimed, Outcome.cancelled(), 0, 0)])
    shown = body(status(job.refresh()))
    assert (shown["state"], shown["error"]) == ("cancelled", None)


def test_status_of_an_unknown_total_has_no_fraction(app):
    """Progress without a total has the fraction null."""
    job = app.send_function(apps.string_length, "abc")
    app.store.report([Report(claim(app), Progress(3, None, "reading"))], 0)
    shown = body(status(job.refresh()))["progress"]
    assert shown == {"done": 3.0, "total": None, "fraction": None, "message": "reading"}


def test_a_known_version_is_not_sent_again(app):
    """Who has seen this version gets 304, the same ETag and no body."""
    job = app.send_function(apps.string_length, "abc")
    seen = status(job).headers["ETag"]
    answer = status(job, seen)
    assert (answer.status, answer.headers["ETag"], answer.body) == (304, seen, b"")


@pytest.mark.parametrize("header", ['"7", {}', "W/{}", '"7",W/{} , "9"', "*"])
def test_if_none_match_in_all_its_forms(app, header):
    """A list of tags, a weak tag and the asterisk are understood as HTTP means them."""
    job = app.send_function(apps.string_length, "abc")
    seen = status(job).headers["ETag"]
    assert status(job, header.format(seen)).status == 304


@pytest.mark.parametrize("header", [None, "", '"99"', "1", '"1', "nonsense, , ,"])
def test_another_version_is_sent(app, header):
    """Who has seen nothing, or another version, gets the whole status."""
    job = app.send_function(apps.string_length, "abc")
    assert status(job, header).status == 200


def test_each_change_has_a_new_etag(app):
    """State, progress and messages each change the ETag."""
    job = app.send_function(apps.string_length, "abc")
    tags = [status(job).headers["ETag"]]
    claimed = claim(app)
    for report in [None, Report(claimed, Progress(1, 2)), Report(claimed, None, ((0, '"half"'),))]:
        app.store.report([report] if report else [], 0)
        tags.append(status(job.refresh()).headers["ETag"])
    assert len(set(tags)) == 4


def test_result_is_the_value_itself(app):
    """The result of a job that succeeded is 200 with the JSON that the function returned."""
    answer = result(ran(app, apps.string_length, "abc"))
    assert (answer.status, answer.headers["Content-Type"], body(answer)) == (200, "application/json", 3)


def test_result_may_be_null(app):
    """A function that returned None has the result null."""
    answer = result(ran(app, apps.append_line, os.devnull, "a line"))
    assert (answer.status, answer.body) == (200, b"null")


def test_result_that_was_not_kept_is_gone(app):
    """410 as a problem: asking again is no use, and it is no null."""
    job = ran(app, apps.string_length.options(result_ttl_s=60), "abc")
    app.store.forget_results(2**62, 9)
    answer = result(job.refresh())
    assert (answer.status, answer.headers["Content-Type"]) == (410, "application/problem+json")
    assert body(answer)["detail"] == "The job has succeeded; what it returned was not kept any longer."


def test_result_before_the_end_says_when_to_ask_again(app):
    """As long as there is no result the answer is 202 with Retry-After."""
    answer = result(app.send_function(apps.string_length, "abc"))
    assert (answer.status, answer.headers["Retry-After"], body(answer)["state"]) == (202, "1", "ready")


def test_result_of_a_failed_job_is_a_conflict_without_its_reason(app):
    """A failed job answers 409 as a problem; the error's own text is not for its follower."""
    answer = result(ran(app, apps.fail, "secret of the house"))
    assert (answer.status, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert b"secret" not in answer.body
    assert b"ValueError" not in answer.body


def test_result_of_a_failed_job_has_its_reason_for_debugging(app):
    """With debug on, the problem names the error and its text, and no traceback."""
    answer = result(ran(app, apps.fail, "secret of the house"), DEBUG)
    assert body(answer)["detail"] == "ValueError: secret of the house"
    assert b"Traceback" not in answer.body


def test_result_of_a_cancelled_job_says_so(app):
    """A cancelled job answers 409 and says that it was cancelled."""
    job = app.send_function(apps.string_length, "abc")
    job.cancel()
    answer = result(job.refresh())
    assert (answer.status, body(answer)["detail"]) == (409, "The job was cancelled.")


def test_status_of_a_failed_job_keeps_its_reason_to_itself(app):
    """The status says that the job failed; the text of the error only where debug is on."""
    job = ran(app, apps.fail, "secret of the house")
    assert body(status(job))["error"] == "The job failed."
    assert body(status(job, asked=DEBUG))["error"] == "ValueError: secret of the house"


def test_an_unknown_job_is_a_problem_in_the_standard_form(app):
    """JobNotFound becomes 404 in the form of RFC 9457, which no cache keeps."""
    answer = problems.or_problem(Asked(), lambda: result(app.job("nowhere")))
    assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body(answer) == {
        "type": "urn:treadle:problem:job-not-found",
        "title": "Job not found",
        "status": 404,
        "detail": "There is no such job, or the link to it has expired.",
    }


def test_a_problem_speaks_the_language_of_its_reader(app):
    """Its sentence is in Chinese where the client prefers that; its name and title are for programs."""
    answer = problems.problem(problems.NOT_FOUND, IN_CHINESE)
    assert body(answer)["detail"] == "没有这个任务，或者链接已过期。"
    assert (body(answer)["title"], answer.headers["Content-Language"]) == ("Job not found", "zh")


@pytest.mark.parametrize(("age_s", "again"), [(0, "1"), (30, "1"), (300, "2"), (3600, "5")])
def test_who_waits_for_long_is_asked_to_come_less_often(app, age_s, again):
    """Retry-After grows with the age of the job."""
    job = app.send_function(apps.string_length, "abc")
    assert status(job, after_s=age_s).headers["Retry-After"] == again


def test_cancel_is_accepted_as_often_as_it_is_asked_for(app):
    """202 with the state, for a job that waits and for one that has ended."""
    job = app.send_function(apps.string_length, "abc")
    answers = [resources.cancel(job, Asked("POST")) for _ in range(2)]
    assert [(a.status, body(a)["state"]) for a in answers] == [(202, "cancelled")] * 2


def test_a_map_shows_its_parts(app):
    """A letter for each part, how many run, and how many times faster than one after the other it goes."""
    whole = app.send_map(apps.string_length, ["a", "bb", "ccc"], parts=3)
    assert body(status(whole))["parts"] == {"cells": "www", "running": 0, "speed_up": None}
    app.run_pending()
    parts = body(status(whole.refresh()))["parts"]
    assert (parts["cells"], parts["speed_up"] > 0) == ("sss", True)


def test_other_errors_are_not_hidden_behind_not_found():
    """Only JobNotFound becomes 404; what else goes wrong is the server's error."""
    with pytest.raises(ZeroDivisionError):
        problems.or_problem(Asked(), lambda: 1 / 0)


@pytest.mark.parametrize("answer", [status, result])
def test_no_answer_is_kept_by_a_shared_cache(app, answer):
    """What is told of one job is private, and asked for again each time."""
    assert answer(ran(app, apps.string_length, "abc")).headers["Cache-Control"] == "private, no-cache"
