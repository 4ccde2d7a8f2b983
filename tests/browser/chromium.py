"""A headless Chromium for the tests, driven from a thread of its own.

Playwright's loop runs in the thread that it is used from, where then nobody could wait for a job, or use Django's
database.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.helpers import eventually

TIMEOUT_S = 30
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """A page of Playwright: each of its methods, called in the browser's thread."""

    def __init__(self, run: Callable[..., Any], page: Any) -> None:
        self._run = run
        self._page = page
        self.complaints: list[str] = []
        """What the browser has put into its console as an error: of scripts, and of what a policy forbids."""
        run(page.on, "console", lambda message: self._heard(message.type, message.text))
        run(page.on, "pageerror", lambda error: self._heard("error", str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: self._run(getattr(self._page, name), *args, **options)

    def until(self, condition: str) -> None:
        """Waits until this is true in the page. (Playwright's own `wait_for_function` is forbidden by a strict policy.)"""
        eventually(lambda: self.evaluate(condition), TIMEOUT_S)

    def says(self, text: str, selector: str = "job-progress .state") -> None:
        """Waits until this text stands there."""
        self.wait_for_selector(f"{selector}:has-text({text!r})")


class Chromium:
    """The browser; each page is one of a new session."""

    def __init__(self, run: Callable[..., Any], browser: Any) -> None:
        self._run = run
        self._browser = browser

    @contextmanager
    def page(self, **options: Any) -> Iterator[Page]:
        context = self._run(self._browser.new_context, **options)
        self._run(context.set_default_timeout, TIMEOUT_S * 1000)
        try:
            yield Page(self._run, self._run(context.new_page))
        finally:
            self._run(context.close)


@contextmanager
def a_chromium() -> Iterator[Chromium]:
    """Skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with ThreadPoolExecutor(1, "browser") as thread:

        def run(step: Callable[..., Any], *args: Any, **options: Any) -> Any:
            return thread.submit(step, *args, **options).result()

        playwright = run(lambda: api.sync_playwright().start())
        try:
            browser = run(playwright.chromium.launch, executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            yield Chromium(run, browser)
            run(browser.close)
        finally:
            run(playwright.stop)
