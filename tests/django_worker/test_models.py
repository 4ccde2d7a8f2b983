"""The model shows every job and writes none."""

import pytest

from django_worker import run_pending, send_function
from django_worker.models import ReadOnlyError, SendFunction
from tests.django_site import tasks

pytestmark = pytest.mark.django_db


def test_the_primary_key_is_the_id_of_the_job():
    """A job is found by its id, with its state, its times and its result."""
    handle = send_function(tasks.string_length, "hello")
    run_pending()
    row = SendFunction.objects.get(pk=handle.id)
    assert (row.task, row.state, row.result) == ("tests.django_site.tasks.string_length", "succeeded", 5)
    assert row.enqueued_at <= row.started_at <= row.finished_at


def test_with_use_tz_off_times_are_naive_as_those_of_the_result(settings):
    """In the time zone of the site."""
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Shanghai"
    sent = tasks.string_length.enqueue("hello")
    row = SendFunction.objects.get(pk=sent.id)
    assert (row.enqueued_at, row.started_at) == (sent.enqueued_at, None)


@pytest.mark.parametrize(
    "write",
    [
        lambda: SendFunction().save(),
        lambda: SendFunction.objects.create(id="x"),
        lambda: SendFunction.objects.update(state="ready"),
        lambda: SendFunction.objects.all().delete(),
        lambda: SendFunction.objects.first().delete(),
        lambda: SendFunction.objects.bulk_create([]),
    ],
)
def test_every_way_to_write_is_refused_and_names_the_verb(write):
    """save, create, update and delete raise, and say which verb to use."""
    send_function(tasks.string_length, "x")
    with pytest.raises(ReadOnlyError, match=r"send_function.*cancel"):
        write()
    assert SendFunction.objects.count() == 1
