"""The tree of errors."""

import inspect
import pickle
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from typing import Any

import pytest

from treadle import errors
from treadle.errors import Reject, Retry, Snooze, TreadleError, WorkerCrashed, suggestion

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_ours_and_in_the_picture(cls: type) -> None:
    """One class catches all, each is drawn in the tree, and each has a sentence."""
    assert issubclass(cls, TreadleError)
    assert cls is TreadleError or f"─ {cls.__name__} " in (errors.__doc__ or "")
    assert cls.__doc__


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.NotATask, TypeError),
        (errors.PayloadError, ValueError),
        (errors.UnknownTask, LookupError),
        (errors.JobNotFound, LookupError),
        (errors.ResultExpired, LookupError),
        (errors.RetryRefused, ValueError),
        (errors.WorkerCrashed, BrokenProcessPool),
        (errors.PoolBroken, BrokenProcessPool),
        (errors.Unpicklable, pickle.PicklingError),
        (errors.Unreadable, pickle.PicklingError),
        (errors.Unreadable, BrokenProcessPool),
    ],
)
def test_errors_are_also_what_python_would_raise(cls: type, builtin: type) -> None:
    """Code that knows nothing of us catches them too."""
    assert issubclass(cls, builtin)


def test_a_crash_travels_with_its_exit_code() -> None:
    """Unpickled it is the same."""
    crash = pickle.loads(pickle.dumps(WorkerCrashed("died", -9)))
    assert (str(crash), crash.exit_code) == ("died", -9)


@pytest.mark.parametrize("after_s", [0, 2.5, Fraction(1, 2)])
@pytest.mark.parametrize("cls", [Retry, Snooze])
def test_what_a_task_raises_travels_with_its_wait(cls: Any, after_s: float) -> None:
    """A task that is called in a pool hands it to its caller, as any error."""
    raised = pickle.loads(pickle.dumps(cls(after_s)))
    assert (type(raised), raised.after_s, str(raised)) == (cls, float(after_s), str(cls(after_s=after_s)))
    assert f"{float(after_s):g} s" in str(raised)


def test_a_retry_need_not_say_when() -> None:
    """And a rejection is its reason."""
    assert pickle.loads(pickle.dumps(Retry())).after_s is None
    assert str(Retry()) == "the task asked for another attempt"
    assert str(pickle.loads(pickle.dumps(Reject("no such account")))) == "no such account"


@pytest.mark.parametrize("after_s", [-1, float("inf"), float("nan"), 10**400, "5", True, 5j])
@pytest.mark.parametrize("cls", [Retry, Snooze])
def test_a_wait_that_is_none_is_refused_where_it_is_made(cls: Any, after_s: Any) -> None:
    """With the value."""
    with pytest.raises(ValueError, match=rf"{cls.__name__}: after_s must be a finite number of seconds.*, got "):
        cls(after_s)


def test_a_snooze_must_say_when() -> None:
    """None is no time."""
    with pytest.raises(ValueError, match="got None"):
        Snooze(None)  # type: ignore[arg-type]


def test_a_suggestion_is_made_only_for_what_is_near() -> None:
    """Nothing is suggested for a word that is far from all."""
    assert suggestion("max_attempt", ["max_attempts", "queue"]) == ", did you mean 'max_attempts'?"
    assert suggestion("zzz", ["max_attempts", "queue"]) == ""
