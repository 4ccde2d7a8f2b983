"""What is answered about a job, without any framework."""

import json
import os

import pytest
from tests import apps

from treadle.app import Treadle
from treadle.job import Ending, Outcome, Progress, Report
from treadle.testing import store_contract
from treadle.web import resources

URLS = {"status": "/jobs/x", "result": "/jobs/x/result"}


@pytest.fixture
def app():
    return Treadle("memory://", registry=apps.app.registry, mode="collect")


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
    answer = resources.status(job, URLS, None)
    assert body(answer) == {
        "id": job.id,
        "state": "succeeded",
        "cancel_requested": False,
        "progress": {"done": 4.0, "total": 4.0, "fraction": 1.0, "message": "step 4"},
        "messages": [{"number": 1, "body": {"counted": 4}}, {"number": 2, "body": "done"}],
        "error": None,
        "urls": URLS,
    }


@pytest.mark.parametrize(("end", "again"), [("waits", "1"), ("runs", "1"), ("succeeds", None), ("is cancelled", None)])
def test_status_says_when_to_look_again(app, end, again):
    """The status is 200 in every state, and names a time for the next look as long as there will be news."""
    job = app.send_function(apps.string_length, "abc")
    {"waits": list, "runs": lambda: claim(app), "succeeds": app.run_pending, "is cancelled": job.cancel}[end]()
    answer = resources.status(job.refresh(), URLS, None)
    assert (answer.status, answer.headers.get("Retry-After")) == (200, again)


def test_status_of_a_running_job_tells_that_it_is_to_end(app):
    """Who follows a job that was cancelled while it runs sees that at once, under a new ETag, and then its end."""
    job = app.send_function(apps.string_length, "abc")
    (claimed,) = store_contract.claim(app.store, 1)
    seen = resources.status(job.refresh(), URLS, None).headers["ETag"]
    job.cancel()
    answer = resources.status(job.refresh(), URLS, seen)
    assert (body(answer)["state"], body(answer)["cancel_requested"]) == ("running", True)
    app.store.finish([Ending.of(claimed, Outcome.cancelled(), 0, 0)])
    shown = body(resources.status(job.refresh(), URLS, None))
    assert (shown["state"], shown["error"]) == ("cancelled", None)


def test_status_of_an_unknown_total_has_no_fraction(app):
    """Progress without a total has the fraction null."""
    job = app.send_function(apps.string_length, "abc")
    app.store.report([Report(claim(app), Progress(3, None, "reading"))], 0)
    shown = body(resources.status(job.refresh(), URLS, None))["progress"]
    assert shown == {"done": 3.0, "total": None, "fraction": None, "message": "reading"}


def test_a_known_version_is_not_sent_again(app):
    """Who has seen this version gets 304, the same ETag and no body."""
    job = app.send_function(apps.string_length, "abc")
    seen = resources.status(job, URLS, None).headers["ETag"]
    answer = resources.status(job, URLS, seen)
    assert (answer.status, answer.headers["ETag"], answer.body) == (304, seen, b"")


@pytest.mark.parametrize("header", ['"7", {}', "W/{}", '"7",W/{} , "9"', "*"])
def test_if_none_match_in_all_its_forms(app, header):
    """A list of tags, a weak tag and the asterisk are understood as HTTP means them."""
    job = app.send_function(apps.string_length, "abc")
    seen = resources.status(job, URLS, None).headers["ETag"]
    assert resources.status(job, URLS, header.format(seen)).status == 304


@pytest.mark.parametrize("header", [None, "", '"99"', "1", '"1', "nonsense, , ,"])
def test_another_version_is_sent(app, header):
    """Who has seen nothing, or another version, gets the whole status."""
    job = app.send_function(apps.string_length, "abc")
    assert resources.status(job, URLS, header).status == 200


def test_each_change_has_a_new_etag(app):
    """State, progress and messages each change the ETag."""
    job = app.send_function(apps.string_length, "abc")
    tags = [resources.status(job, URLS, None).headers["ETag"]]
    claimed = claim(app)
    for report in [None, Report(claimed, Progress(1, 2)), Report(claimed, None, ((0, '"half"'),))]:
        app.store.report([report] if report else [], 0)
        tags.append(resources.status(job.refresh(), URLS, None).headers["ETag"])
    assert len(set(tags)) == 4


def test_result_is_the_value_itself(app):
    """The result of a job that succeeded is 200 with the JSON that the function returned."""
    answer = resources.result(ran(app, apps.string_length, "abc"))
    assert (answer.status, answer.headers["Content-Type"], body(answer)) == (200, "application/json", 3)


def test_result_may_be_null(app):
    """A function that returned None has the result null."""
    answer = resources.result(ran(app, apps.append_line, os.devnull, "a line"))
    assert (answer.status, answer.body) == (200, b"null")


def test_result_that_was_not_kept_is_gone(app):
    """410 as a problem: asking again is no use, and it is no null."""
    job = ran(app, apps.string_length.options(result_ttl_s=60), "abc")
    app.store.forget_results(2**62, 9)
    answer = resources.result(job.refresh())
    assert (answer.status, answer.headers["Content-Type"]) == (410, "application/problem+json")
    assert body(answer)["title"] == "The job has succeeded; what it returned was not kept any longer."


def test_result_before_the_end_says_when_to_ask_again(app):
    """As long as there is no result the answer is 202 with Retry-After."""
    answer = resources.result(app.send_function(apps.string_length, "abc"))
    assert (answer.status, answer.headers["Retry-After"], body(answer)["state"]) == (202, "1", "ready")


def test_result_of_a_failed_job_is_a_conflict_without_its_reason(app):
    """A failed job answers 409 as a problem; the error's own text is not for its follower."""
    answer = resources.result(ran(app, apps.fail, "secret of the house"))
    assert (answer.status, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert b"secret" not in answer.body
    assert b"ValueError" not in answer.body


def test_result_of_a_failed_job_has_its_reason_for_debugging(app):
    """With debug on, the problem names the error and its text, and no traceback."""
    answer = resources.result(ran(app, apps.fail, "secret of the house"), debug=True)
    assert body(answer)["title"] == "ValueError: secret of the house"
    assert b"Traceback" not in answer.body


def test_result_of_a_cancelled_job_says_so(app):
    """A cancelled job answers 409 and says that it was cancelled."""
    job = app.send_function(apps.string_length, "abc")
    job.cancel()
    answer = resources.result(job.refresh())
    assert (answer.status, body(answer)["title"]) == (409, "The job was cancelled.")


def test_status_of_a_failed_job_keeps_its_reason_to_itself(app):
    """The status says that the job failed; the text of the error only where debug is on."""
    job = ran(app, apps.fail, "secret of the house")
    assert body(resources.status(job, URLS, None))["error"] == "The job failed."
    assert body(resources.status(job, URLS, None, debug=True))["error"] == "ValueError: secret of the house"


def test_an_unknown_job_is_a_problem_in_the_standard_form(app):
    """JobNotFound becomes 404 in the form of RFC 9457, which no cache keeps."""
    answer = resources.or_not_found(lambda: resources.result(app.job("nowhere")))
    assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body(answer) == {
        "type": "about:blank",
        "title": "There is no such job, or the link to it has expired.",
        "status": 404,
    }


def test_other_errors_are_not_hidden_behind_not_found():
    """Only JobNotFound becomes 404; what else goes wrong is the server's error."""
    with pytest.raises(ZeroDivisionError):
        resources.or_not_found(lambda: 1 / 0)


@pytest.mark.parametrize("answer", [lambda job: resources.status(job, URLS, None), resources.result])
def test_no_answer_is_kept_by_a_shared_cache(app, answer):
    """What is told of one job is private, and asked for again each time."""
    assert answer(ran(app, apps.string_length, "abc")).headers["Cache-Control"] == "private, no-cache"
