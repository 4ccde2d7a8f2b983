"""What cannot travel is told, by name and type, and harms nobody."""

import pickle
from collections.abc import Iterator

import pytest
from tests import functions
from tests.helpers import PATIENCE_S

from treadle import ProcessPool, Unpicklable


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """One pool for all of it: nothing here may end a child."""
    with ProcessPool(1) as pool:
        child = pool.submit(functions.pid).result(PATIENCE_S)
        yield pool
        assert pool.pids == [child]


@pytest.mark.parametrize(
    ("args", "blamed"),
    [
        ((functions.make_lock(),), "argument 0 is <unlocked _thread.lock"),
        ((1, lambda: 1), "argument 1 is <function"),
    ],
    ids=["lock", "lambda"],
)
def test_an_argument_that_cannot_travel_is_named(pool: ProcessPool, args: tuple[object, ...], blamed: str) -> None:
    """In that future only, with the reason as its cause."""
    future = pool.submit(functions.identity, *args)
    error = future.exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)
    assert isinstance(error, pickle.PicklingError)
    assert blamed in str(error)
    assert error.__cause__ is not None
    assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


def test_a_function_that_cannot_travel_is_named(pool: ProcessPool) -> None:
    """A lambda has no name that a child could import."""
    with pytest.raises(Unpicklable, match=r"the function is <function .*<lambda>"):
        pool.submit(lambda: 1).result(PATIENCE_S)


def test_a_named_argument_that_cannot_travel_is_named(pool: ProcessPool) -> None:
    """By its name."""
    with pytest.raises(Unpicklable, match=r"argument 'value' is .*lock, which cannot be pickled"):
        pool.submit(functions.identity, value=functions.make_lock()).result(PATIENCE_S)


def test_a_result_that_cannot_travel_is_named(pool: ProcessPool) -> None:
    """With its function and its type; the child lives."""
    with pytest.raises(Unpicklable, match=r"the result of make_lock is a _thread.lock, which cannot be pickled"):
        pool.submit(functions.make_lock).result(PATIENCE_S)
    assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


@pytest.mark.parametrize(
    ("function", "told"),
    [(functions.raise_holds_lock, "HoldsLock: held"), (functions.raise_needs_two, "NeedsTwo: one two")],
    ids=["cannot be pickled", "cannot be made again"],
)
def test_an_exception_that_cannot_travel_is_told(pool: ProcessPool, function: object, told: str) -> None:
    """In words, with its traceback; nothing hangs."""
    error = pool.submit(function).exception(PATIENCE_S)  # type: ignore[arg-type]
    assert isinstance(error, Unpicklable)
    assert told in str(error)
    assert "Traceback" in str(error)


def test_a_result_that_cannot_be_read_here_is_told(pool: ProcessPool) -> None:
    """With the reason as its cause, and the pool goes on."""
    error = pool.submit(functions.make_stubborn).exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)
    assert isinstance(error.__cause__, ValueError)
    assert pool.submit(functions.double, 1).result(PATIENCE_S) == 2


def test_an_argument_that_cannot_be_read_there_is_told(pool: ProcessPool) -> None:
    """The child's error is in the future."""
    assert isinstance(pool.submit(functions.identity, functions.Stubborn()).exception(PATIENCE_S), ValueError)


def test_a_report_that_cannot_travel_is_an_error_of_the_function(pool: ProcessPool) -> None:
    """Where it was reported."""
    assert pool.call(functions.report_lock, on_progress=print).result(PATIENCE_S) == "went on"


def test_an_error_has_the_remote_traceback_as_its_cause(pool: ProcessPool) -> None:
    """As in `concurrent.futures`, so that tools that know one know both."""
    error = pool.submit(functions.fail_deep).exception(PATIENCE_S)
    assert isinstance(error, LookupError)
    assert type(error.__cause__).__name__ == "_RemoteTraceback"
    assert "in fail_deep" in str(error.__cause__)
