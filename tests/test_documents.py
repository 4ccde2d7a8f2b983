"""What the documents say is true: their code runs elsewhere, their links lead somewhere, their commands exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
READMES = ["README.md", "README.zh-CN.md"]
WITH_SNIPPETS = [*READMES, "docs/transactions.md"]
SNIPPET = re.compile(r"<!-- (\S+) -->\n```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", WITH_SNIPPETS)
def test_every_snippet_is_part_of_a_file_that_runs(name):
    """Each block of Python names its file, and stands in it word for word."""
    text = (ROOT / name).read_text(encoding="utf-8")
    snippets = SNIPPET.findall(text)
    assert len(snippets) == text.count("```python") > 0
    for file, code in snippets:
        assert code in (ROOT / file).read_text(encoding="utf-8"), f"{file} has changed"


def test_both_readmes_show_the_same_code():
    """The two languages show the same snippets, in the same order."""
    english, chinese = (SNIPPET.findall((ROOT / name).read_text(encoding="utf-8")) for name in READMES)
    assert english == chinese


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(name):
    """No document points to a file that is not there."""
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    folder = (ROOT / name).parent
    assert [target for target in targets if not (folder / target).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_exists(name):
    """Each `make x` in a document is a chore of the Makefile."""
    chores = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= chores


def test_every_module_of_the_map_exists():
    """Each file that ARCHITECTURE.md names in its map is there, and no room of the core is missing from it."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    top = {path.name for path in (ROOT / "src/treadle").glob("*.py")} - {"__init__.py"}
    assert [name for name in sorted(top) if name not in text] == []
    named = set(re.findall(r"\b(\w+\.py)\b", text.partition("Imports point down")[0]))
    there = {path.name for path in (ROOT / "src").rglob("*.py")}
    assert named <= there


def test_every_promise_of_the_pool_names_a_test_that_exists():
    """Each row of the page has one, where it says."""
    text = (ROOT / "docs/what-the-pool-promises.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)
    assert len(named) >= text.count("| `")
    for file, test in named:
        path = ROOT / file if "/" in file else ROOT / "tests/treadle/pools/processes" / file
        assert f"def {test}(" in path.read_text(encoding="utf-8"), f"there is no {test} in {file}"
