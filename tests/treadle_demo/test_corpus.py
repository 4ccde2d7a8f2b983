"""Which files the demo takes for its input."""

import sysconfig
from pathlib import Path

import pytest

from treadle_demo import corpus
from treadle_demo.corpus import Corpus
from treadle_demo.errors import DemoError


@pytest.fixture
def tree(tmp_path):
    """Three Python files of 400 kB, one in a subfolder, and a file that is none."""
    for name in ("a.py", "sub/b.py", "c.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#" * 400_000)
    (tmp_path / "notes.txt").write_text("no Python")
    return tmp_path


def test_the_standard_library_comes_first_and_without_packages():
    """Every machine has this input, whatever is installed."""
    files = list(corpus.library_files())
    assert Path(sysconfig.get_path("stdlib"), "json", "decoder.py") in files
    assert not [path for path in files if "site-packages" in path.parts]


def test_the_packages_of_the_environment_come_next():
    """A library without its tests has less than 30 MB."""
    assert any(path.parts[-2:] == ("flask", "app.py") for path in corpus.environment_files())


def test_the_input_ends_before_it_would_be_too_large(tree):
    """2 x 400 kB fit into 1 MB, a third file does not."""
    chosen = corpus.choose(tree, 1)
    assert len(chosen.paths) == 2
    assert chosen.bytes == 800_000


def test_one_file_is_taken_even_if_it_is_too_large(tree):
    """An input of nothing would show nothing."""
    assert len(corpus.choose(tree, 0.001).paths) == 1


def test_the_order_is_mixed_and_always_the_same(tree):
    """Parts of the list are alike, and every process and every run has the same list."""
    first, again = corpus.choose(None, 5), corpus.choose(None, 5)
    assert first == again
    assert first.paths != sorted(first.paths)


def test_a_sample_is_the_beginning_of_the_input():
    """What is compared is part of what was analysed."""
    everything = corpus.choose(None, 5)
    sample = everything.sample(1)
    assert 0 < sample.bytes <= 1_000_000
    assert everything.paths[: len(sample.paths)] == sample.paths


def test_what_is_no_python_file_is_passed_over(tree):
    """Neither other files nor folders that end in .py, nor links that lead nowhere."""
    (tree / "folder.py").mkdir()
    (tree / "broken.py").symlink_to(tree / "nowhere")
    assert {Path(path).name for path in corpus.choose(tree, 30).paths} == {"a.py", "b.py", "c.py"}


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """--path with a slip of the pen gets one sentence."""
    with pytest.raises(DemoError, match="there is no such folder"):
        corpus.choose(tmp_path / "nowhere", 30)


def test_a_folder_without_python_is_named(tmp_path):
    """Nothing to analyse is an error, not an empty table."""
    with pytest.raises(DemoError, match=f"no Python file in {tmp_path}"):
        corpus.choose(tmp_path, 30)


def test_other_processes_read_the_same_choice(tmp_path):
    """The web processes and the plain runs are given what the demo chose."""
    chosen = {"all": Corpus(["/a.py", "/b.py"], 7), "sample": Corpus(["/a.py"], 3)}
    corpus.write(tmp_path / "input.json", chosen)
    assert corpus.read(tmp_path / "input.json") == chosen
