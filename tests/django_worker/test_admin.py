"""The admin shows jobs, blanks what sounds secret, and offers no way to write."""

import pytest

from django_worker import send_function
from tests.django_site import tasks


def test_the_list_shows_jobs(admin_client):
    """The list has the job's task and state."""
    send_function(tasks.string_length, "hello")
    page = admin_client.get("/admin/django_worker/sendfunction/").content.decode()
    assert "tests.django_site.tasks.string_length" in page
    assert "ready" in page


def test_a_job_is_shown_with_secrets_blanked(admin_client):
    """Arguments are shown, but for those whose name sounds secret."""
    handle = send_function(tasks.echo, {"user": "ada", "password": "hunter2"})
    page = admin_client.get(f"/admin/django_worker/sendfunction/{handle.id}/change/").content.decode()
    assert "ada" in page
    assert "hunter2" not in page


def test_a_job_is_shown_without_what_its_task_redacts(admin_client):
    """However the argument was passed; the repr of its result shows none either."""
    handle = send_function(tasks.greet, "ann@example.org", "hello")
    page = admin_client.get(f"/admin/django_worker/sendfunction/{handle.id}/change/").content.decode()
    assert "hello" in page
    assert "ann@example.org" not in page
    assert "ann@example.org" not in repr(tasks.greet.get_result(handle.id))


@pytest.mark.parametrize("action", ["add/", "{id}/delete/"])
def test_nothing_can_be_added_or_deleted(admin_client, action):
    """There is no form to add or delete a job."""
    handle = send_function(tasks.string_length, "x")
    assert admin_client.get(f"/admin/django_worker/sendfunction/{action.format(id=handle.id)}").status_code == 403
