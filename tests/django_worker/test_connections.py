"""A send is part of the transaction that it stands in."""

import sqlite3
import threading

import pytest
from django.db import connection, transaction

from django_worker import jobs, send_function
from django_worker.connections import DjangoStore
from django_worker.models import SendFunction
from django_worker.site import site
from tests.django_site import tasks
from treadle.errors import StoreLocked
from treadle.store.contract import Store
from treadle.testing.store_contract import StoreContract


@pytest.mark.django_db
class TestDjangoStore(StoreContract):
    """The job verbs, on Django's connection in a test's transaction; other threads would have other connections."""

    test_threads_that_claim_at_once_get_each_job_once = None
    test_claimers_at_once_beside_a_paused_queue_get_each_job_once = None
    test_threads_that_send_one_key_at_once_get_one_job = None
    test_threads_that_claim_at_once_run_one_of_each_key = None
    test_of_all_that_move_a_schedule_at_once_one_sends = None
    test_a_waiter_wakes_when_something_changed = None

    def make_store(self) -> Store:
        return DjangoStore("default", None)


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_send_is_gone():
    """What was sent inside atomic is gone after a rollback."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.string_length.enqueue("x")
        1 / 0
    assert jobs() == []


@pytest.mark.django_db(transaction=True)
def test_a_committed_send_is_there():
    """What was sent inside atomic is there after the commit."""
    with transaction.atomic():
        handle = send_function(tasks.string_length, "x")
    assert [job.id for job in jobs()] == [handle.id]


def test_a_send_after_a_read_works_while_another_connection_writes(file_database):
    """With transaction_mode IMMEDIATE, as the README shows, read-then-send never meets a locked database."""
    with transaction.atomic():
        SendFunction.objects.count()
        writer = threading.Thread(target=_write_elsewhere, args=(file_database,))
        writer.start()
        handle = send_function(tasks.string_length, "x")
    writer.join()
    assert handle.id in [job.id for job in jobs()]


def test_without_immediate_the_error_names_the_setting(file_database):
    """A transaction that began with a read cannot write after another's commit; the message says what to set."""
    connection.transaction_mode = None
    try:
        with pytest.raises(StoreLocked, match="transaction_mode"), transaction.atomic():
            SendFunction.objects.count()
            _write_elsewhere(file_database)
            send_function(tasks.string_length, "x")
    finally:
        connection.transaction_mode = "IMMEDIATE"


def _write_elsewhere(path):
    other = sqlite3.connect(path, timeout=10)
    other.execute("INSERT INTO treadle_meta (name, value) VALUES (hex(randomblob(8)), '')")
    other.commit()
    other.close()


def test_the_workers_connections_are_as_durable_as_the_settings_say(file_database, settings):
    """SQLITE_SYNCHRONOUS is that of the worker's own connections."""
    options = {"SQLITE_SYNCHRONOUS": "FULL"}
    settings.TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "OPTIONS": options}}
    opened = site().worker_store.file.connect()
    assert opened.execute("PRAGMA synchronous").fetchone() == (2,)
    opened.close()
