"""What the documents say is true: their code runs elsewhere, their links lead somewhere, their commands exist."""

import re
from pathlib import Path

import pytest

from tests import golden
from treadle.states import TRANSITIONS, State

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
READMES = ["README.md", "README.zh-CN.md"]
TUTORIALS = [
    ("docs/tutorial-flask.md", "docs/zh/tutorial-flask.md"),
    ("docs/tutorial-django.md", "docs/zh/tutorial-django.md"),
]
WITH_SNIPPETS = [
    *READMES,
    *(name for both in TUTORIALS for name in both),
    "docs/flask.md",
    "docs/job-options.md",
    "docs/schedules.md",
    "docs/unique-and-exclusive-jobs.md",
    "docs/transactions.md",
]
SNIPPET = re.compile(r"<!-- (\S+) -->\n```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", WITH_SNIPPETS)
def test_every_snippet_is_part_of_a_file_that_runs(name):
    """Each block of Python names its file, and stands in it word for word."""
    text = (ROOT / name).read_text(encoding="utf-8")
    snippets = SNIPPET.findall(text)
    assert len(snippets) == text.count("```python") > 0
    for file, code in snippets:
        assert code in (ROOT / file).read_text(encoding="utf-8"), f"{file} has changed"


@pytest.mark.parametrize("names", [READMES, *TUTORIALS], ids=lambda names: names[0])
def test_both_languages_show_the_same_code(names):
    """Two languages show the same snippets, in the same order."""
    english, chinese = (SNIPPET.findall((ROOT / name).read_text(encoding="utf-8")) for name in names)
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


@pytest.mark.parametrize("page", ["docs/what-the-pool-promises.md", "docs/what-treadle-promises.md", "SECURITY.md"])
def test_every_promise_names_a_test_that_exists(page):
    """Each row of a table has one, where it says."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith(("| promise |", "| what happens |", "| threat |"))
    ]
    assert [row for row in rows if "::test_" not in row] == []
    for file, test in re.findall(r"`([\w/]+\.py)::(test_\w+)`", text):
        path = ROOT / file if "/" in file else ROOT / "tests/treadle/pools/processes" / file
        assert f"def {test}(" in path.read_text(encoding="utf-8"), f"there is no {test} in {file}"


def test_the_picture_of_the_states_is_that_of_the_table():
    """WRITE_GOLDEN=1 draws it anew."""
    page = ROOT / "docs/what-treadle-promises.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- states -->\n")
    after = rest[rest.index("<!-- end of states -->") :]
    golden.check(page, f"{before}<!-- states -->\n```mermaid\n{_state_diagram()}```\n{after}")


def _state_diagram() -> str:
    verbs: dict[tuple[str, str], list[str]] = {}
    for verb, source, target in TRANSITIONS:
        verbs.setdefault((source or "[*]", target), []).append(verb)
    ways = [f"    {source} --> {target}: {', '.join(words)}\n" for (source, target), words in verbs.items()]
    ends = [f"    {state} --> [*]\n" for state in State if state.is_finished]
    return "".join(["stateDiagram-v2\n", *ways, *ends])
