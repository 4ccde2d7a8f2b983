"""What a site's own tests are given: the mixin, the fixtures, and that they may run side by side."""

import pytest
from django.test import TestCase

from django_worker import job, jobs, run_pending, send_function
from django_worker.test import WorkerTestMixin, in_mode
from django_worker.testing import worker_collect, worker_immediate  # noqa: F401
from tests.django_site import tasks
from tests.helpers import PATIENCE_S, python

SUITE = """
import threading
from django.db import connection
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django_worker import jobs, send_function
from django_worker.test import WorkerTestMixin
from tests.django_site import tasks


class InATransaction(WorkerTestMixin, TestCase):
    def check(self):
        self.assertEqual(jobs(), [])
        send_function(tasks.string_length, "abc")
        self.assertSent(tasks.string_length, "abc")
        self.assertEqual([job.result() for job in self.run_pending()], [3])

    test_one = test_two = test_three = check


class Beside(InATransaction):
    pass


class WithoutDatabase(SimpleTestCase):
    def test_a_send_is_refused_as_any_query(self):
        with self.assertRaisesRegex(AssertionError, "not allowed in SimpleTestCase"):
            send_function(tasks.string_length, "abc")


class AndThreads(WorkerTestMixin, TransactionTestCase):
    def send(self):
        send_function(tasks.string_length, "ab")
        connection.close()

    def test_what_another_thread_sends(self):
        thread = threading.Thread(target=self.send)
        thread.start()
        thread.join()
        self.assertEqual([job.result() for job in self.run_pending()], [2])
"""


class MixinTest(WorkerTestMixin, TestCase):
    def test_an_async_task_asks_the_database_inside_of_the_transaction(self) -> None:
        """On the connection of the test, however it is run."""
        send_function(tasks.counts_jobs_in_a_coroutine)
        assert [job.result() for job in self.run_pending()] == [1]
        with self.sending_immediately():
            assert send_function(tasks.counts_jobs_in_a_coroutine).result() == 2

    async def test_a_coroutine_sends_an_async_task_that_runs_at_once(self) -> None:
        """Where the thread of the test is the one of asgiref."""
        with self.sending_immediately():
            result = await tasks.counts_jobs_in_a_coroutine.aenqueue()
        assert result.return_value == 1

    def test_what_was_sent_is_asserted_with_its_arguments(self) -> None:
        """A failure tells what was sent instead."""
        send_function(tasks.echo, "one")
        self.assertSent(tasks.echo)
        self.assertSent(tasks.echo, "one")
        self.assertNotSent(tasks.square)
        with self.assertRaisesRegex(AssertionError, r"echo was not sent with \(value='two'\); sent were: \('one'\)"):
            self.assertSent(tasks.echo, value="two")
        with self.assertRaisesRegex(AssertionError, r"echo was sent with \('one'\)"):
            self.assertNotSent(tasks.echo)

    def test_jobs_run_in_the_transaction_of_the_test(self) -> None:
        """On its connection; what they send runs, too."""
        handle = send_function(tasks.pays, "me")
        self.assertEqual(self.run_pending()[0].id, handle.id)
        self.assertEqual(len(self.sent(tasks.echo)), 1)

    def test_for_a_while_jobs_run_inside_the_send(self) -> None:
        """And only as long as the block lasts."""
        with self.sending_immediately():
            self.assertEqual(tasks.string_length.enqueue("abc").return_value, 3)
        self.assertFalse(tasks.string_length.enqueue("abc").is_finished)

    def test_what_follows_a_commit_is_taken_in_hand(self) -> None:
        """`captureOnCommitCallbacks` of Django does not meet our sends, which are rows of the same transaction."""
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            send_function(tasks.string_length, "abc")
        self.assertEqual((callbacks, len(self.run_pending())), ([], 1))


def test_the_fixture_that_collects(worker_collect):  # noqa: F811
    """`sent` and `run_pending`, in the database of the test."""
    send_function(tasks.string_length, "abc")
    assert [call.args for call in worker_collect.sent(tasks.string_length)] == [("abc",)]
    assert [ran.result() for ran in worker_collect.run_pending()] == [3]


def test_the_fixture_that_runs_at_once(worker_immediate):  # noqa: F811
    """The send comes back with the end."""
    assert send_function(tasks.string_length, "abc").result() == 3


@pytest.mark.django_db
def test_jobs_of_a_store_of_their_own_are_kept_in_memory(settings, tmp_path):
    """So a test leaves none there."""
    options = {"DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.sqlite3'}"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    with in_mode("collect"):
        assert jobs() == []
    assert not (tmp_path / "jobs.sqlite3").exists()


@pytest.mark.django_db
def test_a_mode_ends_with_its_block_and_keeps_its_jobs():
    """They are in the transaction of the test, as others."""
    with in_mode("collect"):
        handle = send_function(tasks.string_length, "abc")
    assert job(handle.id).state == "ready"
    assert len(run_pending()) == 1


@pytest.mark.parametrize("options", [[], ["--parallel", "2"]])
def test_djangos_own_runner(tmp_path, options):
    """One by one, and side by side on clones of the database; with other threads on one in memory, and with none."""
    (tmp_path / "test_of_a_site.py").write_text(SUITE)
    env = {"DJANGO_SETTINGS_MODULE": "tests.django_site.settings", "PYTHONPATH": f".:{tmp_path}"}
    with python("-m", "django", "test", *options, "test_of_a_site", env=env) as process:
        errors = process.communicate(timeout=PATIENCE_S)[1]
    assert "Ran 8 tests" in errors, errors
    assert process.returncode == 0, errors
