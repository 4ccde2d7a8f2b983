"""The pages of the examples and of the demo, as a person uses them in a real browser."""

import pytest

from tests.examples.test_examples import DJANGO, FLASK, serving
from tests.treadle_demo.test_demo import serving as demo


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


def test_thumbnails(tmp_path, page):
    """Pictures are uploaded, and their thumbnails appear as they are made."""
    image = pytest.importorskip("PIL.Image")
    for number in range(6):
        image.new("RGB", (1200, 800), (40 * number, 90, 200)).save(tmp_path / f"{number}.png")
    with serving("thumbnails", tmp_path, FLASK) as address:
        page.goto(address)
        page.set_input_files("input", sorted(tmp_path.glob("*.png")))
        page.click("button")
        page.says("Done · 6 of 6")
        page.until("[...album.children].filter((each) => each.naturalWidth === 320).length === 6")
        page.goto(f"{address}/albums/..%2f..")
        assert "Not Found" in page.content()


def test_a_table(tmp_path, page):
    """Each column is a job, whose line is filled when it ends; all of them share one stream."""
    rows = "".join(f"{number},{number % 7},word {number % 2},\n" for number in range(20_001))
    (tmp_path / "table.csv").write_text(f"id,day,word,nothing\n{rows}")
    with serving("csv_table", tmp_path, DJANGO) as address:
        page.goto(address)
        page.set_input_files("input[type=file]", tmp_path / "table.csv")
        page.click("button")
        page.until("document.querySelectorAll('job-progress[data-state=succeeded]').length === 4")
        page.says("10,000", "tr:nth-child(1) [data-of=mean]")
        page.says("20,001", "tr:nth-child(4) [data-of=empty]")
        page.says("word 0, word 1", "tr:nth-child(3) [data-of=common]")


def test_the_price_of_an_option(tmp_path, page):
    """It is computed in the request, on every core; and is the same each time."""
    with serving("monte_carlo", tmp_path, FLASK) as address:
        prices = []
        for _ in range(2):
            page.goto(f"{address}/?calls=4")
            prices.append(page.inner_text("#price"))
    assert prices[0] == prices[1]
    assert 3 < float(prices[0]) < 5
