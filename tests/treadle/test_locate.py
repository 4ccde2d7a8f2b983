"""Where an object lives, and the way back."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests import apps
from tests.helpers import python

from treadle import locate
from treadle.errors import AppNotFound

HELLO = """
from treadle.locate import module_name, target_of
thing = object()
def here(): pass
if __name__ == "__main__":
    print(module_name(here.__module__), target_of(thing))
"""


def test_an_object_is_found_under_its_name() -> None:
    """The module's attribute that is this very object."""
    target = locate.target_of(apps.app)
    assert target is not None
    assert locate.load_target(target) is apps.app


def test_an_object_that_no_module_holds_has_no_target() -> None:
    """Equality is not enough."""
    assert locate.target_of(object()) is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tests.apps", "'tests.apps' is not of the form 'module:attribute'"),
        (":app", "':app' is not of the form"),
        ("tests.apps:", "'tests.apps:' is not of the form"),
        ("tests.apps:ap", "module 'tests.apps' has no 'ap', did you mean 'app'?"),
        ("tests.aps:app", "there is no module 'tests.aps' on sys.path or in "),
        ("nowhere.apps:app", "there is no module 'nowhere.apps' on sys.path or in "),
    ],
)
def test_a_wrong_target_is_answered_with_what_is_missing(target: str, message: str) -> None:
    """The message names the target and what was not found."""
    with pytest.raises(AppNotFound) as caught:
        locate.load_target(target)
    assert message in str(caught.value)


def test_an_error_inside_the_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that imports what is not there tells of that, not of itself."""
    (tmp_path / "broken_app.py").write_text("import no_such_thing_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing_at_all"):
        locate.load_target("broken_app:app")


def test_the_current_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m` does."""
    (tmp_path / "app_of_this_folder.py").write_text("app = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert locate.load_target("app_of_this_folder:app") == 7


def test_other_modules_keep_their_name() -> None:
    """Only `__main__` goes by another name."""
    assert locate.module_name("shop.tasks") == "shop.tasks"


def test_a_session_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interactive session has neither a spec nor a file."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    assert locate.module_name("__main__") == "__main__"


def test_a_script_goes_by_its_file(tmp_path: Path) -> None:
    """`python hello.py` is the module `hello`."""
    (tmp_path / "hello.py").write_text(HELLO)
    with python(str(tmp_path / "hello.py")) as process:
        assert process.communicate()[0] == "hello hello:thing\n"


def test_a_module_run_by_name_goes_by_that_name(tmp_path: Path) -> None:
    """`python -m hello` is the module `hello`."""
    (tmp_path / "hello.py").write_text(HELLO)
    with python("-m", "hello", env={"PYTHONPATH": str(tmp_path)}) as process:
        assert process.communicate()[0] == "hello hello:thing\n"


def test_the_main_of_a_package_can_be_found_again(tmp_path: Path) -> None:
    """`python -m shop` runs `shop/__main__.py`, and what is defined there is found under the name given."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "__main__.py").write_text(
        HELLO + "    from treadle.locate import load_target; load_target(target_of(thing))\n"
    )
    with python("-m", "shop", env={"PYTHONPATH": str(tmp_path)}) as process:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output.endswith(":thing\n")


@pytest.mark.parametrize(
    ("target", "module"),
    [
        ("shop.wsgi:create_app()", "shop.wsgi"),
        ("shop", "shop"),
        ("app.py", None),
        ("sites/shop.py:app", None),
        ("", None),
    ],
)
def test_the_module_of_a_target(target: str, module: str | None) -> None:
    """Where it is named as `import` names it, and not as a file."""
    assert locate.importable_module(target) == module


def test_the_main_module_is_not_one_that_others_can_import() -> None:
    """What this process has imported it has under its name, and not as its main program."""
    assert locate.is_imported("tests.apps")
    assert not locate.is_imported("nowhere.at_all")
    assert not locate.is_imported("__main__")
