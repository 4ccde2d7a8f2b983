"""A job over HTTP, through Django."""

import pytest

from django_worker import job, run_pending, send_function, urls
from tests.django_site import tasks

pytestmark = pytest.mark.django_db


def test_a_view_that_sends_answers_202_and_the_link_leads_to_the_result(client):
    """From the request that sends to the result: 202, 200 with the state, 200 with the value."""
    sent = client.post("/length", "hello", content_type="text/plain")
    assert sent.status_code == 202
    run_pending()
    status = client.get(sent["Location"]).json()
    assert status["state"] == "succeeded"
    assert client.get(sent.json()["urls"]["result"]).json() == 5


def test_an_unchanged_job_is_304(client):
    """With the ETag of the last answer the body is not sent again, until the job changes."""
    handle = send_function(tasks.reports, 1)
    url = urls(handle)["status"]
    seen = client.get(url)["ETag"]
    assert client.get(url, headers={"if-none-match": seen}).status_code == 304
    run_pending()
    answer = client.get(url, headers={"if-none-match": seen})
    assert (answer.status_code, [m["body"] for m in answer.json()["messages"]]) == (200, ["1 of 1, attempt 1"])


@pytest.mark.parametrize("token", ["forged", "{id}"])
def test_a_bare_id_or_a_forged_link_is_404(client, token):
    """Without a signature nothing is shown, and the answer tells nothing."""
    handle = send_function(tasks.string_length, "x")
    answer = client.get(f"/worker/jobs/{token.format(id=handle.id)}")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert job(handle.id).id == handle.id


def test_a_rotated_secret_still_opens_old_links(client, settings):
    """Links signed with a key in SECRET_KEY_FALLBACKS are good."""
    url = urls(send_function(tasks.string_length, "x"))["status"]
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert client.get(url).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get(url).status_code == 404


def test_why_a_job_failed_is_told_in_debug_only(client, settings):
    """The error's own text may hold what a follower must not see."""
    handle = send_function(tasks.fails_at_once, "the secret reason")
    run_pending()
    url = urls(handle)["status"]
    assert b"secret reason" not in client.get(url).content
    settings.DEBUG = True
    assert b"secret reason" in client.get(url).content
