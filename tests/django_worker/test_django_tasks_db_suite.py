"""The generic half of django-tasks-db's tests, run on our backend.

Each class takes all tests of one of theirs. Those that are defined here stand for tests of the same name that cannot
hold: `left_out` where they are about their model, their command or their options, or written again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any
from unittest import skip

import pytest
from django.test import override_settings
from django.utils import timezone

from django_worker import run_pending
from django_worker.contract import TaskResultStatus
from tests.django_suite import as_django_tasks, django_tasks_db

with as_django_tasks():
    theirs = django_tasks_db.load()
    noop_task = django_tasks_db.tasks().noop_task


@pytest.fixture(scope="module", autouse=True)
def _names() -> Iterator[None]:
    with as_django_tasks():
        yield


def left_out(reason: str) -> Callable[[Any], None]:
    return skip(reason)(lambda self: None)


MODEL = "it writes into their model, and ours is read-only"
COMMAND = "it is about options of their command that ours has not, or has under another name"
QUEUES = "it is about queues of their command; tests/treadle/worker has those of ours"
OPTION = "it is about an option of theirs, id_function"
INDEX = "it is about their indexes; those of our store are looked at in tests/treadle/store"


class Uncounted:
    """Statements of ours do not go through Django's cursors, so Django does not count them."""

    def assertNumQueries(self, *args: Any, **options: Any) -> AbstractContextManager[None]:
        return nullcontext()


@override_settings(TASKS={"default": {"BACKEND": "django_worker.backend.WorkerBackend"}})
class SendingTest(Uncounted, theirs.DatabaseBackendTestCase):
    test_refresh_result = left_out(MODEL)
    test_refresh_result_async = left_out(MODEL)
    test_invalid_task_path = left_out(MODEL)
    test_missing_task_path = left_out(MODEL)
    test_task_name = left_out(MODEL)
    test_priority_range_check = left_out(MODEL)
    test_run_after_tz = left_out(MODEL)
    test_run_after_null_0016_migration = left_out(MODEL)
    test_index_scan_for_ready = left_out(INDEX)
    test_custom_id_function = left_out(OPTION)
    test_unknown_id_function = left_out(OPTION)
    test_postgres_db_id_function = left_out(OPTION)
    test_postgres_id_function_expression = left_out(OPTION)


class RunningTest(Uncounted, theirs.DatabaseBackendWorkerTestCase):
    run_worker = staticmethod(django_tasks_db.run_worker)

    test_doesnt_process_different_queue = left_out(QUEUES)
    test_process_all_queues = left_out(QUEUES)
    test_process_all_queues_excluding_one_queue = left_out(QUEUES)
    test_exclude_queues_requires_processing_all_queues = left_out(COMMAND)
    test_excluding_unknown_queue_processes_selected_queues = left_out(COMMAND)
    test_doesnt_process_different_backend = left_out(COMMAND)
    test_unknown_backend = left_out(COMMAND)
    test_incorrect_backend = left_out(COMMAND)
    test_negative_interval = left_out(COMMAND)
    test_infinite_interval = left_out(COMMAND)
    test_fractional_interval = left_out(COMMAND)
    test_zero_interval = left_out(COMMAND)
    test_negative_max_tasks = left_out(COMMAND)
    test_zero_max_tasks = left_out(COMMAND)
    test_max_tasks = left_out(COMMAND)
    test_too_long_worker_id = left_out(COMMAND)
    test_empty_worker_id = left_out(COMMAND)
    test_verbose_logging = left_out(COMMAND)
    test_invalid_task_path = left_out(MODEL)
    test_missing_task_path = left_out(MODEL)
    test_task_import_string = left_out(MODEL)
    test_run_after = left_out(MODEL)

    def test_run_after_priority(self) -> None:
        """What is ready runs by priority, then by the time after which it may run; theirs looks at rows."""
        now = timezone.now()
        ago = [now - timedelta(hours=hours) for hours in (2, 10)]
        old, very_old = [noop_task.using(priority=20, run_after=at).enqueue() for at in ago]
        future = noop_task.using(priority=10, run_after=now + timedelta(hours=2)).enqueue()
        high, low, lower = [noop_task.using(priority=priority).enqueue() for priority in (10, 2, -2)]
        self.assertEqual([job.id for job in run_pending()], [r.id for r in (very_old, old, high, low, lower)])
        future.refresh()
        self.assertEqual(future.status, TaskResultStatus.READY)
