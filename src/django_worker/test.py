"""For the tests of a site, as `django.test` is: a mixin for its test cases, and another mode for a while.

    from django.test import TestCase
    from django_worker.test import WorkerTestMixin

    class SignUpTest(WorkerTestMixin, TestCase):
        def test_a_new_user_is_welcomed(self):
            self.client.post("/users", {"name": "Ada"})
            self.assertSent(welcome, "Ada")
            self.run_pending()
            self.assertEqual(len(mail.outbox), 1)

Nothing runs jobs in a test but the test itself: in its thread, on its connection and inside of its transaction. For
pytest there are fixtures in `django_worker.testing`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django_worker import sending
from django_worker.contract import FrameworkTask
from django_worker.site import DjangoTreadle, site
from treadle.app import Sent
from treadle.handle import JobHandle
from treadle.settings import Mode
from treadle.testing import modes


class WorkerTestMixin:
    """Beside TestCase or TransactionTestCase; of the alias `worker_alias`."""

    worker_alias = "default"

    def run_pending(self) -> list[JobHandle[Any]]:
        """Run the jobs that wait, and give them as they ended.

        Jobs of a store of their own (`DATABASE_URL`) are there after a commit: `captureOnCommitCallbacks(execute=True)`.
        """
        return sending.run_pending(alias=self.worker_alias)

    def sent(self, task: "FrameworkTask[..., Any] | None" = None) -> list[Sent]:
        """The calls that were sent, of this task or of all, oldest first."""
        return sending.sent(task, alias=self.worker_alias)

    def sending_immediately(self) -> AbstractContextManager[DjangoTreadle]:
        """While the block lasts, jobs run inside the send: for a test that looks at the effect."""
        return in_mode(Mode.IMMEDIATE, alias=self.worker_alias)

    def assertSent(self, task: "FrameworkTask[..., Any]", *args: Any, **kwargs: Any) -> None:  # noqa: N802
        """Fails unless the task was sent with these arguments, or, where none are given, at all."""
        calls = [(call.args, call.kwargs) for call in self.sent(task)]
        if not (calls if not (args or kwargs) else (args, kwargs) in calls):
            told = ", ".join(map(_told, calls)) or "none"
            raise AssertionError(f"{task.module_path} was not sent with {_told((args, kwargs))}; sent were: {told}")

    def assertNotSent(self, task: "FrameworkTask[..., Any]") -> None:  # noqa: N802
        """Fails if the task was sent, however."""
        calls = [(call.args, call.kwargs) for call in self.sent(task)]
        if calls:
            raise AssertionError(f"{task.module_path} was sent with {', '.join(map(_told, calls))}")


@contextmanager
def in_mode(mode: Mode | str = Mode.COLLECT, *, alias: str = "default", **changes: Any) -> Iterator[DjangoTreadle]:
    """While the block lasts, an alias sends in another mode; see `treadle.testing.modes.in_mode`.

    Jobs stay in the database of Django that they are in, so in the transaction of the test. Those of a store of their
    own are kept in memory meanwhile.
    """
    treadle = site(alias)
    place = {"database_url": "memory://" if treadle.has_store_of_its_own else None}
    with modes.in_mode(treadle, mode, **{**place, **changes}) as jobs:
        yield jobs


def _told(call: tuple[tuple[Any, ...], dict[str, Any]]) -> str:
    args, kwargs = call
    return f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"
