"""The pages of the examples and of the demo, as a person uses them in a real browser."""

import pytest

from tests.browser.chromium import a_chromium
from tests.examples.test_examples import DJANGO, FLASK, serving
from tests.treadle_demo.test_demo import serving as demo


@pytest.fixture(scope="module")
def chromium():
    with a_chromium() as chromium:
        yield chromium


@pytest.fixture
def page(chromium):
    with chromium.page(locale="en-GB") as page:
        yield page
        assert [each for each in page.complaints if "404" not in each] == []


@pytest.mark.parametrize(("framework", "command"), [("flask", FLASK), ("django", DJANGO)])
def test_the_article(tmp_path, page, framework, command):
    """A text is sent with the form, and the answer arrives in the page that follows the job."""
    with serving(f"article/{framework}_article", tmp_path, command) as address:
        page.goto(address)
        page.fill("input", "hello world")
        page.click("button")
        page.says("The length of 'hello world' is 11", "job-progress li")
        page.says("Done")


@pytest.mark.parametrize(("framework", "locale", "send", "title"), [
    ("flask", "en-GB", "Send the job", "Longest functions"),
    ("django", "zh-CN", "发送任务", "最长的函数"),
], ids=["Flask in English", "Django in Chinese"])  # fmt: skip
def test_the_demo(chromium, framework, locale, send, title):
    """One click sends the job; the page follows it, and shows what came out."""
    with demo("--quick", "--framework", framework) as (_, address), chromium.page(locale=locale) as page:
        page.goto(address)
        page.click(f"button:has-text('{send}')")
        page.wait_for_selector(f"h2:has-text('{title}')")
        assert page.inner_text("job-progress .percent") == "100 %"
        assert page.evaluate("job.shadowRoot.querySelectorAll('.cells .s').length") > 1
        assert page.complaints == []
