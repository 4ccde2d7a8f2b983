"""The admin shows jobs, blanks what sounds secret, cancels and retries, and offers no other way to write."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.formats import localize

from django_worker import run_pending, send_function
from django_worker.admin import SendFunctionAdmin
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


def page(client, query=""):
    return client.get(f"/admin/django_worker/sendfunction/{query}").content.decode()


def act(client, action, *handles):
    data = {"action": action, "_selected_action": [handle.id for handle in handles]}
    return client.post("/admin/django_worker/sendfunction/", data, follow=True).content.decode()


def test_a_result_is_shown_with_secrets_blanked(admin_client):
    """As its arguments are."""
    handle = send_function(tasks.echo, {"user": "ada", "token": "hunter2"})
    run_pending()
    text = admin_client.get(f"/admin/django_worker/sendfunction/{handle.id}/change/").content.decode()
    assert text.count("ada") == 2
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?state__exact=ready", "mail"),
        ("?queue=mail", "mail"),
        ("?q=tests.django_site.tasks.echo", "echo"),
        ("?q=echo", ""),
    ],
)
def test_the_list_is_filtered_and_searched(admin_client, query, shown):
    """By state, by queue, and by an id or the beginning of a task's name."""
    echo = send_function(tasks.echo, 1)
    run_pending()
    mail = send_function(tasks.string_length.using(queue_name="mail"), "x")
    found = page(admin_client, query)
    assert [handle.id in found for handle in (echo, mail)] == [shown == "echo", shown == "mail"]


def test_a_job_is_found_by_its_id(admin_client):
    """Which may be written in capitals."""
    one, other = send_function(tasks.echo, 1), send_function(tasks.echo, 2)
    found = page(admin_client, f"?q={other.id.upper()}")
    assert [handle.id in found for handle in (one, other)] == [False, True]


@pytest.mark.parametrize("lookup", ["payload__contains", "result_json__startswith", "failure_json__regex", "payload"])
def test_no_filter_of_an_address_tells_what_is_blanked(admin_client, lookup):
    """Else whoever may look could guess a secret letter by letter."""
    handle = send_function(tasks.echo, {"password": "hunter2"})
    run_pending()
    answer = admin_client.get(f"/admin/django_worker/sendfunction/?{lookup}=hunter2")
    assert (answer.status_code, handle.id in answer.content.decode()) == (400, False)


def test_with_use_tz_off_times_are_shown_as_those_of_the_site(admin_client, settings):
    """As Django shows those of other models."""
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Shanghai"
    sent = tasks.echo.enqueue(1)
    assert f"{localize(sent.enqueued_at)}</td>" in page(admin_client)


def test_what_waits_is_cancelled_and_what_failed_is_retried(admin_client, admin_user):
    """By the verbs of the store; the admin's history says who did it."""
    waits, fails = send_function(tasks.echo, 1), send_function(tasks.fails_at_once, "x")
    run_pending()
    waits = send_function(tasks.echo, 1)
    assert "1 job was cancelled or asked to end." in act(admin_client, "cancel", waits, fails)
    assert "2 jobs were sent once more." in act(admin_client, "retry", waits, fails)
    assert [handle.refresh().state for handle in (waits, fails)] == ["ready", "ready"]
    entries = LogEntry.objects.filter(user=admin_user).values_list("object_id", "change_message")
    assert set(entries) == {(waits.id, "cancelled"), (waits.id, "sent once more"), (fails.id, "sent once more")}


@pytest.mark.parametrize("may", ["cancel", "retry"])
def test_each_action_has_a_permission_of_its_own(client, django_user_model, may):
    """Who may only look sees none of them, and one does not come with the other."""
    user = django_user_model.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_sendfunction", f"{may}_sendfunction"]))
    client.force_login(user)
    send_function(tasks.echo, 1)
    text = page(client)
    assert [f'value="{action}"' in text for action in ("cancel", "retry")] == [may == "cancel", may == "retry"]


def test_an_action_without_its_permission_does_nothing(client, django_user_model):
    """Also where it is posted without the form."""
    user = django_user_model.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_sendfunction"))
    client.force_login(user)
    handle = send_function(tasks.echo, 1)
    act(client, "cancel", handle)
    assert handle.refresh().state == "ready"


def test_no_page_counts_all_jobs_or_loads_their_arguments(admin_client):
    """Counts end where one can page to, and what may be large is not read for the list."""
    send_function(tasks.echo, 1)
    with CaptureQueriesContext(connection) as seen:
        page(admin_client)
    ours = [query["sql"] for query in seen.captured_queries if "treadle_job" in query["sql"]]
    assert [sql for sql in ours if "COUNT" in sql and "LIMIT 10000" not in sql] == []
    assert [sql for sql in ours if "payload" in sql] == []


def test_a_tenant_sees_and_cancels_only_its_own(admin_client, monkeypatch):
    """`get_queryset` is the hook: filtered there by labels, nothing else is shown, found or acted on."""
    ours, theirs = [send_function(tasks.echo.options(labels={"tenant": name}), 1) for name in ("acme", "other")]

    everything = SendFunctionAdmin.get_queryset
    monkeypatch.setattr(
        SendFunctionAdmin, "get_queryset", lambda self, request: everything(self, request).filter(labels__tenant="acme")
    )
    text = page(admin_client)
    assert [handle.id in text for handle in (ours, theirs)] == [True, False]
    act(admin_client, "cancel", ours, theirs)
    assert [handle.refresh().state for handle in (ours, theirs)] == ["cancelled", "ready"]
    assert admin_client.get(f"/admin/django_worker/sendfunction/{theirs.id}/change/").status_code == 302
