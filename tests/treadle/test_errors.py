"""The tree of errors."""

import inspect
import pickle
from concurrent.futures.process import BrokenProcessPool

import pytest

from treadle import errors
from treadle.errors import TreadleError, WorkerCrashed, suggestion

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


def test_a_suggestion_is_made_only_for_what_is_near() -> None:
    """Nothing is suggested for a word that is far from all."""
    assert suggestion("max_attempt", ["max_attempts", "queue"]) == ", did you mean 'max_attempts'?"
    assert suggestion("zzz", ["max_attempts", "queue"]) == ""
