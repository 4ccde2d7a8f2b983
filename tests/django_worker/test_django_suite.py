"""Django's own tests of tasks, run on our backend: on Django 5.2 with the backport under Django's names.

Each class takes all tests of one of theirs. Those that are defined here stand for tests of the same name that cannot
hold for this backend: `left_out` where they are about another one, or written again where the claim holds, or the
opposite is promised.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock, skip

import django
import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings

from django_worker import run_pending
from django_worker.backend import WorkerBackend
from django_worker.contract import InvalidTask, TaskResultStatus, task_backends
from django_worker.worker_task import WorkerTask
from tests.django_suite import as_django_tasks, find
from tests.django_suite.backend import SuiteBackend

sys.path.append(str(find("django")))
with as_django_tasks():
    from tasks import tasks as test_tasks
    from tasks import test_custom_backend, test_dummy_backend, test_immediate_backend
    from tasks import test_tasks as test_contract

COLLECTS: dict[str, Any] = {
    "BACKEND": "tests.django_suite.backend.SuiteBackend", "QUEUES": [], "OPTIONS": {"MODE": "collect"},
}  # fmt: skip
RUNS: dict[str, Any] = {**COLLECTS, "OPTIONS": {"MODE": "immediate"}}


@pytest.fixture(scope="module", autouse=True)
def _names() -> Iterator[None]:
    with as_django_tasks():
        yield


def left_out(reason: str) -> Callable[[Any], None]:
    return skip(reason)(lambda self: None)


class OnOurs(TestCase):
    """Their tests with a database, which their backends do not need; written again what names one of these."""

    def test_using_correct_backend(self) -> None:
        """But for what its OPTIONS are: here they have the mode of the test."""
        self.assertIsInstance(task_backends["default"], WorkerBackend)
        self.assertEqual(task_backends["default"].alias, "default")


class OnQueues(OnOurs):
    def test_validate_on_enqueue(self) -> None:
        """With our backend in the settings, where theirs names its own."""
        task = test_tasks.noop_task.using(queue_name="unknown_queue")
        with override_settings(TASKS={"default": {**COLLECTS, "QUEUES": ["queue-1"]}}):
            with self.assertRaisesMessage(InvalidTask, "Queue 'unknown_queue' is not valid for backend"):
                task.enqueue()

    async def test_validate_on_aenqueue(self) -> None:
        """The same for a coroutine."""
        task = test_tasks.noop_task.using(queue_name="unknown_queue")
        with override_settings(TASKS={"default": {**COLLECTS, "QUEUES": ["queue-1"]}}):
            with self.assertRaisesMessage(InvalidTask, "Queue 'unknown_queue' is not valid for backend"):
                await task.aenqueue()


@override_settings(TASKS={"default": COLLECTS})
class SendingTest(OnQueues, test_dummy_backend.DummyBackendTestCase):
    """What holds before a task runs: on DummyBackend there, in the mode `collect` here."""

    if django.VERSION < (6, 0):
        test_validate_disallowed_async_task = left_out("the backport spells the message otherwise")

    def test_refresh_result(self) -> None:
        """A result is newer after `refresh`, of a task that has run: theirs writes into the memory of DummyBackend."""
        result = test_tasks.calculate_meaning_of_life.enqueue()
        run_pending()
        self.assertEqual(result.status, TaskResultStatus.READY)
        result.refresh()
        self.assertEqual((result.status, result.return_value), (TaskResultStatus.SUCCESSFUL, 42))

    async def test_refresh_result_async(self) -> None:
        """The same for a coroutine."""
        result = await test_tasks.calculate_meaning_of_life.aenqueue()
        await sync_to_async(run_pending)()
        self.assertEqual(result.status, TaskResultStatus.READY)
        await result.arefresh()
        self.assertEqual((result.status, result.return_value), (TaskResultStatus.SUCCESSFUL, 42))


@override_settings(TASKS={"default": RUNS})
class RunningTest(OnQueues, test_immediate_backend.ImmediateBackendTestCase):
    """What a run leaves: on ImmediateBackend there, in the mode `immediate` here."""

    test_cannot_get_result = left_out("ImmediateBackend keeps no results, and ours does")
    test_cannot_refresh_result = left_out("ImmediateBackend keeps no results, and ours does")
    test_cannot_pass_run_after = left_out("ImmediateBackend cannot wait, and ours does")


OF_6_1 = "it is about something that came with Django 6.1"
OPTIONS = "the decorator of Django 6.0 takes no further options; that of django_worker does"


@override_settings(
    TASKS={
        "default": {**COLLECTS, "QUEUES": ["default", "queue_1"]},
        "immediate": RUNS,
        "missing": {"BACKEND": "does.not.exist"},
    },
    USE_TZ=True,
)
class ContractTest(OnOurs, test_contract.TaskTestCase):
    """What the framework promises of tasks and results, whatever the backend."""

    if django.VERSION < (6, 1):
        test_unpickle_arbitrary_string = left_out(OF_6_1)
        test_unpickle_non_task_object = left_out(OF_6_1)
        test_run_after_in_decorator = left_out(OF_6_1)

    async def test_refresh_result(self) -> None:
        """But in a coroutine no database can be asked without `await`."""
        result = await test_tasks.noop_task.aenqueue()
        before = asdict(result)
        await sync_to_async(result.refresh)()
        self.assertEqual(asdict(result), before)
        await result.arefresh()
        self.assertEqual(asdict(result), before)

    def test_get_backend(self) -> None:
        """Both aliases have ours here."""
        for alias in ("default", "immediate"):
            self.assertIsInstance(test_tasks.noop_task.using(backend=alias).get_backend(), WorkerBackend)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTask(WorkerTask):
    foo: int = 3
    bar: int = 300


class CustomTaskBackend(SuiteBackend):
    task_class = CustomTask


@override_settings(
    TASKS={
        "default": {
            "BACKEND": f"{CustomTaskBackend.__module__}.{CustomTaskBackend.__qualname__}",
            "QUEUES": ["default", "high"],
        }
    }
)
class CustomTaskTest(test_custom_backend.CustomTaskTestCase):
    """A site may subclass our backend, and our task for options of its own."""

    if (6, 0) <= django.VERSION < (6, 1):
        test_custom_task_with_custom_values = left_out(OPTIONS)
        test_custom_task_with_standard_and_custom_values = left_out(OPTIONS)

    def setUp(self) -> None:
        replaced = mock.patch.object(test_custom_backend, "CustomTask", CustomTask)
        replaced.start()
        self.addCleanup(replaced.stop)


@override_settings(TASKS={"default": COLLECTS})
class TransactionTest(TransactionTestCase):
    def test_doesnt_wait_until_transaction_commit_by_default(self) -> None:
        """Written again for ours, which theirs does not name: the send is part of the transaction."""
        with transaction.atomic():
            result = test_tasks.noop_task.enqueue()
            self.assertIsNotNone(result.enqueued_at)
            self.assertEqual(len(run_pending()), 1)
