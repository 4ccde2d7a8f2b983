"""Tells at the end how many tests of others ran, which did not, and why."""

from typing import Any, NamedTuple

import pytest


class Suite(NamedTuple):
    name: str
    modules: str
    """Where its tests are defined."""
    ours: str
    """Which file of ours runs them."""


SUITES = (
    Suite("CPython's own executor tests", "test.test_concurrent_futures", "test_cpython.py"),
    Suite("Django's own tests of tasks", "tasks.test_", "test_django_suite.py"),
    Suite("The tests of django-tasks-db", "tests.of_django_tasks_db", "test_django_tasks_db_suite.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        module = getattr(item, "function", item).__module__
        for suite in SUITES:
            if module.startswith(suite.modules):
                item.user_properties.append(("is of", suite.name))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for suite in SUITES:
        failed = _of(suite, terminalreporter, "failed", "error")
        run = failed | _of(suite, terminalreporter, "passed")
        if run:
            terminalreporter.write_line(f"{suite.name}: {len(run)} run, {len(failed)} failed; left out:")
            for line in _left_out(suite, terminalreporter):
                terminalreporter.write_line(f"  {line}")


def _left_out(suite: Suite, terminalreporter: Any) -> list[str]:
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if suite.ours in report.nodeid]
    return [f"{report.nodeid.rpartition(':')[2]} because {report.longrepr[2][9:]}" for report in skipped]


def _of(suite: Suite, terminalreporter: Any, *outcomes: str) -> set[str]:
    reports = [report for outcome in outcomes for report in terminalreporter.stats.get(outcome, ())]
    return {report.nodeid for report in reports if ("is of", suite.name) in getattr(report, "user_properties", ())}
