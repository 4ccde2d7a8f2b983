"""What cannot travel is told, by name and type, and harms nobody."""

import contextlib
import functools
import pickle
from collections.abc import Iterator

import pytest
from tests import functions
from tests.helpers import PATIENCE_S

from treadle import ProcessPool, Unpicklable, Unreadable


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
    error = pool.submit(functions.identity, functions.Stubborn()).exception(PATIENCE_S)
    assert isinstance(error, Unreadable)
    assert "ValueError('not here')" in str(error)
    assert "in _refuse" in str(error.__cause__)


def test_a_report_that_cannot_travel_is_an_error_of_the_function(pool: ProcessPool) -> None:
    """Where it was reported."""
    assert pool.call(functions.report_lock, on_progress=print).result(PATIENCE_S) == "went on"


def test_an_error_has_the_remote_traceback_as_its_cause(pool: ProcessPool) -> None:
    """As in `concurrent.futures`, so that tools that know one know both."""
    error = pool.submit(functions.fail_deep).exception(PATIENCE_S)
    assert isinstance(error, LookupError)
    assert type(error.__cause__).__name__ == "_RemoteTraceback"
    assert "in fail_deep" in str(error.__cause__)


KINDS = {
    "generator": "generator",
    "lambda": "function",
    "lock": "_thread.lock",
    "file": "_io.TextIOWrapper",
    "socket": "socket.socket",
    "module": "module",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_pickle_refuses_is_named_as_an_argument(pool: ProcessPool, kind: str) -> None:
    """With its type and its place."""
    value = functions.make(kind)
    with contextlib.closing(value) if kind in ("file", "socket") else contextlib.nullcontext():
        positional = pool.submit(functions.apply, functions.identity, value).exception(PATIENCE_S)
        named = pool.submit(functions.identity, value=[value]).exception(PATIENCE_S)
    assert isinstance(positional, Unpicklable)
    assert f"a {KINDS[kind]}, which cannot be pickled" in str(positional)
    assert "argument 1 is" in str(positional)
    assert "argument 'value' is [" in str(named)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_what_pickle_refuses_is_named_as_a_result(pool: ProcessPool, kind: str) -> None:
    """With its type and its function."""
    error = pool.submit(functions.make, kind).exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)
    assert f"the result of make is a {KINDS[kind]}, which cannot be pickled" in str(error)


@pytest.mark.parametrize("where", ["reduce", "getstate", "repr"])
def test_an_argument_that_raises_while_it_is_pickled_is_named(pool: ProcessPool, where: str) -> None:
    """Also where it cannot even tell what it is; the reason is the cause."""
    error = pool.submit(functions.identity, functions.Raises(where)).exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)
    assert "argument 0 is <" in str(error)
    assert "functions.Raises, which cannot be pickled: " in str(error)
    assert isinstance(error.__cause__, RuntimeError)


@pytest.mark.parametrize("where", ["reduce", "getstate", "repr", "setstate"])
def test_a_result_that_raises_while_it_travels_is_told(pool: ProcessPool, where: str) -> None:
    """On either side."""
    error = pool.submit(functions.make_raising, where).exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)


@pytest.mark.parametrize("where", ["reduce", "getstate", "repr", "setstate"])
def test_an_exception_that_raises_while_it_travels_is_told(pool: ProcessPool, where: str) -> None:
    """In words, with its traceback."""
    error = pool.submit(functions.raise_holding, where).exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)
    assert "HoldsLocal: holds" in str(error)
    assert "in raise_holding" in str(error)


def test_an_exception_that_can_neither_travel_nor_tell_is_told_by_its_type(pool: ProcessPool) -> None:
    """And its child lives."""
    error = pool.submit(functions.raise_cannot_tell).exception(PATIENCE_S)
    assert isinstance(error, Unpicklable)
    assert "functions.CannotTell" in str(error)


def test_an_argument_that_takes_no_state_there_is_told(pool: ProcessPool) -> None:
    """The child's error is in the future."""
    error = pool.submit(functions.identity, functions.Raises("setstate")).exception(PATIENCE_S)
    assert isinstance(error, RuntimeError)
    assert "it takes no state" in str(error)


def test_a_local_function_or_class_is_named(pool: ProcessPool) -> None:
    """A child could import neither."""

    def local() -> None: ...

    class Local: ...

    for function in (local, Local, functools.partial(functions.identity, local), Local().__class__):
        error = pool.submit(function).exception(PATIENCE_S)
        assert isinstance(error, Unpicklable)
        assert "the function is" in str(error)
        assert "ocal" in str(error)


def test_what_cannot_travel_harms_no_other_call(pool: ProcessPool) -> None:
    """Those before, behind and beside it give their results."""
    futures = [pool.submit(functions.identity, functions.make("lock") if n % 5 == 0 else n) for n in range(50)]
    for number, future in enumerate(futures):
        if number % 5 == 0:
            assert isinstance(future.exception(PATIENCE_S), Unpicklable)
        else:
            assert future.result(PATIENCE_S) == number
