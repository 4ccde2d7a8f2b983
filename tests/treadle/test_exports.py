"""The public names."""

import inspect

import pytest

import treadle
from treadle import errors


@pytest.mark.parametrize("name", treadle.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """With a docstring of its own."""
    thing = getattr(treadle, name)
    assert thing.__doc__
    assert thing.__doc__ != (thing.__mro__[1].__doc__ if inspect.isclass(thing) else None)


def test_the_public_names_are_sorted_and_given_once() -> None:
    """So that the list can be read."""
    assert treadle.__all__ == sorted(set(treadle.__all__))


def test_nothing_public_is_left_out() -> None:
    """What the package imports for its users is in the list."""
    public = {name for name, thing in vars(treadle).items() if inspect.isclass(thing) and name[0] != "_"}
    assert public == set(treadle.__all__)


@pytest.mark.parametrize("name", treadle.__all__)
def test_every_public_method_is_documented(name: str) -> None:
    """Those of our own classes."""
    thing = getattr(treadle, name)
    for method, member in vars(thing).items():
        if inspect.isfunction(member) and method[0] != "_":
            assert inspect.getdoc(getattr(thing, method)), f"{name}.{method}"


def test_errors_are_importable_from_their_module() -> None:
    """Those that users rarely name, too."""
    assert errors.StoreLocked.__mro__[1] is errors.StoreError
    assert treadle.StoreError is errors.StoreError


def test_the_version_is_one() -> None:
    """Three numbers."""
    assert [part.isdigit() for part in treadle.__version__.split(".")] == [True] * 3
