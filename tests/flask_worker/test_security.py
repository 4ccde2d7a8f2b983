"""What somebody with bad intentions gets; SECURITY.md names these tests."""

import io

import pytest
from tests.flask_worker.site import fail, string_length, worker
from tests.flask_worker.test_following import A_BROWSER, urls_of

from treadle.job import new_id


class Unread(io.RawIOBase):
    """A body of ten gigabytes that nobody may read."""

    def readinto(self, buffer):
        raise AssertionError("the body was read")


@pytest.mark.parametrize("name", ["status", "result", "cancel", "events"])
def test_no_route_reads_a_body(app, client, name):
    """So that however large a body is, it takes up nothing."""
    url = urls_of(app, worker.send_function(string_length, "abc"))[name]
    method = "POST" if name == "cancel" else "GET"
    environ = {
        "wsgi.input": Unread(),
        "CONTENT_LENGTH": str(10**10),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    assert client.open(url, method=method, environ_overrides=environ).status_code in (200, 202)


def test_ids_cannot_be_guessed_and_open_nothing(app, client):
    """There are 74 bits of chance in each, and no route takes one."""
    ids = {new_id() for _ in range(1000)}
    assert len({id_[14:] for id_ in ids}) == 1000
    job = worker.send_function(string_length, "abc")
    places = [f"/worker/jobs/{job.id}{rest}" for rest in ("", "/result", "/events")] + [f"/worker/events?job={job.id}"]
    assert [client.get(place).status_code for place in places] == [404] * 4
    assert client.post(f"/worker/jobs/{job.id}/cancel").status_code == 404


@pytest.mark.parametrize("text", ["abc\r\nX-Injected: 1", "abc%0d%0aX-Injected:%201"])
def test_nothing_of_a_request_becomes_a_header(client, text):
    """Neither of its path nor of what it sends."""
    sent = client.post("/length", data=text, headers=A_BROWSER)
    other = client.get(f"/worker/jobs/{text}", headers=A_BROWSER)
    assert "X-Injected" not in {*sent.headers.keys(), *other.headers.keys()}
    assert sent.headers["Location"].startswith("/worker/jobs/")


@pytest.mark.parametrize("name", ["status", "result", "events"])
@pytest.mark.parametrize("headers", [{}, A_BROWSER], ids=["program", "browser"])
def test_nobody_is_told_arguments_errors_or_places_in_the_code(app, client, name, headers):
    """Outside of debug a failed job says that it failed, in each form in which it is asked for."""
    job = worker.send_function(fail, "secret of the house")
    worker.run_pending()
    text = client.get(urls_of(app, job)[name], headers=headers).text
    assert not [word for word in ("secret", "ValueError", "Traceback", "site.py", "fail(") if word in text]


def test_a_refused_link_does_not_tell_why(app, client):
    """Forged, expired, foreign, and not for this: one answer, to the byte."""
    job = worker.send_function(string_length, "abc")
    urls, expired = urls_of(app, job), urls_of(app, job, expires_in_s=-2)
    asked = ["/worker/jobs/forged", expired["status"], urls["result"].removesuffix("/result"), f"/worker/jobs/{job.id}"]
    answers = [client.get(place) for place in asked]
    assert {(answer.status_code, answer.data) for answer in answers} == {(404, answers[0].data)}


def test_the_address_of_a_page_goes_to_no_other_site(client):
    """It is a capability: `Referrer-Policy`, and nothing in it is loaded from elsewhere."""
    page = client.get(client.post("/length", data="abc", headers=A_BROWSER).headers["Location"], headers=A_BROWSER)
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert "//" not in page.text.partition("<body>")[0].replace("<!doctype", "")


def test_a_result_is_data(app, client):
    """JSON that no browser takes for a page, whatever stands in it."""
    job = worker.send_function(string_length, "<script>")
    worker.run_pending()
    answer = client.get(urls_of(app, job)["result"], headers=A_BROWSER)
    assert (answer.mimetype, answer.headers["X-Content-Type-Options"]) == ("application/json", "nosniff")
