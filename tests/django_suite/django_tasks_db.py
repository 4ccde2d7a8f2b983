"""The tests of django-tasks-db on our backend: its modules' names, and its model's where tests count with them."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from django_worker import jobs, run_pending
from django_worker.backend import WorkerBackend
from tests.django_suite import find
from treadle.handle import JobHandle
from treadle.states import State

NAME = "tests.of_django_tasks_db"
INSTEAD = {
    "django_tasks_db.DatabaseBackend": "django_worker.backend.WorkerBackend",
    'assertIn("django_tasks_db", errors[0].hint': 'assertIn("django_worker", errors[0].hint',
    # Ours sort by the time of their making.
    "uuid.UUID(result.id).version, 4": "uuid.UUID(result.id).version, 7",
    "is not JSON serializable": "Unsupported type",
    # As the task of Django's tests says it.
    "This task failed due to ValueError": "This Task failed due to ValueError",
}


class Jobs:
    """What the manager of their model tells of the rows, as far as tests only count them."""

    def count(self) -> int:
        return len(jobs(limit=1000))

    def ready(self) -> "_Counted":
        return _Counted(jobs(state=State.READY))

    def successful(self) -> "_Counted":
        return _Counted(jobs(state=State.SUCCEEDED))

    def failed(self) -> "_Counted":
        return _Counted(jobs(state=State.FAILED))


class _Counted(list[JobHandle[Any]]):
    def count(self) -> int:  # type: ignore[override]
        return len(self)


def run_worker(**options: Any) -> None:
    """Their command in a batch: run what waits, in this process."""
    run_pending()


def load() -> ModuleType:
    """Their tests, as a module; skips where they were not fetched."""
    source = find("django-tasks-db") / "tests" / "tests.py"
    text = source.read_text()
    for theirs, ours in INSTEAD.items():
        text = text.replace(theirs, ours)
    module = ModuleType(NAME)
    module.__file__ = str(source)
    sys.modules[NAME] = module
    stand_ins = _their_modules()
    sys.modules.update(stand_ins, **{"tests.tasks": tasks()})
    # Compiled under its own name, so that a failure shows where it is.
    exec(compile(text, str(source), "exec"), module.__dict__)
    for name in stand_ins:
        del sys.modules[name]
    return module


def _their_modules() -> dict[str, Any]:
    names = (
        "django_tasks_db", "django_tasks_db.admin", "django_tasks_db.compat", "django_tasks_db.models", "django_tasks_db.utils",
        "django_tasks_db.management", "django_tasks_db.management.commands",
        "django_tasks_db.management.commands.prune_db_task_results",
    )  # fmt: skip
    made: dict[str, Any] = {name: mock.MagicMock() for name in names}
    made["django_tasks_db"].DatabaseBackend = WorkerBackend
    made["django_tasks_db.models"].DBTaskResult = SimpleNamespace(objects=Jobs())
    made["django_tasks_db.utils"].exclusive_transaction = lambda: lambda test: test
    return made


def tasks() -> ModuleType:
    """The tasks that both suites have, under the name that theirs has; only Django ships them."""
    if "tests.tasks" not in sys.modules:
        spec: Any = spec_from_file_location("tests.tasks", Path(find("django")) / "tasks" / "tasks.py")
        sys.modules["tests.tasks"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["tests.tasks"])
    return sys.modules["tests.tasks"]
