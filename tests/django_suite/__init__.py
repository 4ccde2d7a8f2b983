"""What the tests of others need to run on `WorkerBackend`. The tests themselves are fetched by `scripts/fetch-suites`."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import django
import pytest

SUITES = Path(__file__).parents[2] / ".suites"
MODULES = (
    "",
    ".base",
    ".backends",
    ".backends.base",
    ".backends.dummy",
    ".backends.immediate",
    ".exceptions",
    ".signals",
)


def find(name: str) -> Path:
    """The folder that holds the tests of a distribution; skips the module that asks where they were not fetched."""
    found = sorted(SUITES.glob(f"{name}-[0-9]*"))
    if not found:
        pytest.skip(f"the tests of {name} were not fetched: run scripts/fetch-suites", allow_module_level=True)
    return found[-1]


@contextmanager
def as_django_tasks() -> Iterator[None]:
    """Before Django 6.0: its backport `django_tasks` under the names that Django has for it since."""
    if django.VERSION >= (6, 0):
        yield
        return
    names = {f"django.tasks{name}": _renamed(import_module(f"django_tasks{name}")) for name in MODULES}
    theirs, forward = logging.getLogger("django_tasks"), _Forward()
    level = theirs.level
    sys.modules.update(names)
    theirs.addHandler(forward)
    theirs.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        theirs.setLevel(level)
        theirs.removeHandler(forward)
        for name in names:
            del sys.modules[name]


def _renamed(module: ModuleType) -> ModuleType:
    """A module of the backport with all names that Django has in it."""
    if module.__name__.endswith("exceptions"):
        for name in ("InvalidTask", "InvalidTaskBackend"):
            setattr(module, name, getattr(module, f"{name}Error"))
    if module.__name__ == "django_tasks":
        module.Task = module.base.Task  # type: ignore[attr-defined]
    return module


class _Forward(logging.Handler):
    """Logs as `django.tasks`, too, what the backport logs."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = logging.getLogger("django.tasks")
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
