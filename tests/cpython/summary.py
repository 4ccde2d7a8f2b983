"""Tells at the end how many of CPython's own tests ran, and which did not."""

from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if getattr(item, "function", item).__module__.startswith("test.test_concurrent_futures"):
            item.user_properties.append(("is CPython's", True))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    failed = _theirs(terminalreporter, "failed", "error")
    run = failed | _theirs(terminalreporter, "passed")
    if not run:
        return
    terminalreporter.write_line(f"CPython's own executor tests: {len(run)} run, {len(failed)} failed; left out:")
    for report in terminalreporter.stats.get("skipped", ()):
        path, _, test = report.nodeid.partition("::")
        if path.endswith("test_cpython.py"):
            terminalreporter.write_line(f"  {test.rpartition(':')[2]} because {report.longrepr[2][9:]}")


def _theirs(terminalreporter: Any, *outcomes: str) -> set[str]:
    reports = [report for outcome in outcomes for report in terminalreporter.stats.get(outcome, ())]
    return {report.nodeid for report in reports if ("is CPython's", True) in getattr(report, "user_properties", ())}
