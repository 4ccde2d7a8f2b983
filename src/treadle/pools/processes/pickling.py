"""How calls and what they give travel, and clear errors where they cannot.

A function goes by name. What is defined in `__main__` is found by importing the owner's main module in
the child, as multiprocessing does, but only when it is first needed: the main module of a web process
is gunicorn's or flask's, which no child has any use for.
"""

import io
import pickle
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import process as stdlib_process
from multiprocessing import spawn
from typing import Any

from treadle.errors import Unpicklable

PROTOCOL = pickle.HIGHEST_PROTOCOL

# Pickles an exception with its traceback as text; unpickled it is the exception, with a _RemoteTraceback
# as its cause. The same two classes as in concurrent.futures, so that tools that know them know ours.
_with_traceback: Any = stdlib_process._ExceptionWithTraceback


def dump_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> bytes:
    """Raises Unpicklable, naming what cannot travel."""
    try:
        return pickle.dumps((function, args, dict(kwargs)), PROTOCOL)
    except Exception as error:
        raise Unpicklable(_blame(function, args, dict(kwargs), error)) from error


def dump_value(value: Any, what: str) -> bytes:
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception as error:
        raise Unpicklable(f"{what} is a {_type(value)}, which cannot be pickled: {error}") from error


def dump_error(error: BaseException) -> bytes:
    """An exception for the other side; one that cannot travel is told in words."""
    # Told first: the class below takes the traceback off the exception.
    told = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps(_with_traceback(error, error.__traceback__), PROTOCOL)
        # Many exceptions pickle and cannot be made again, for want of an argument.
        pickle.loads(data)
    except Exception as reason:
        stand_in = Unpicklable(f"the function raised {_type(error)}: {error}; it cannot be pickled: {reason}\n{told}")
        return pickle.dumps(stand_in, PROTOCOL)
    return data


class MainFinder(pickle.Unpickler):
    """Unpickles; finds what is in `__main__` in the owner's main module."""

    main: "dict[str, str] | None" = None
    """How to import the owner's main module, until it was imported."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and MainFinder.main is not None:
            main, MainFinder.main = MainFinder.main, None
            spawn.prepare(main)
        return super().find_class(module, name)


def load(data: bytes) -> Any:
    """What was pickled by the other side of a private socket, which is this very program."""
    return MainFinder(io.BytesIO(data)).load()


def main_module() -> dict[str, str] | None:
    """How a child can import this process's main module; None where it cannot."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    path = getattr(main, "__file__", None)
    if name is not None:
        return {"init_main_from_name": name}
    return {"init_main_from_path": path} if path else None


def _blame(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> str:
    named = [("the function", function)]
    named += [(f"argument {index}", value) for index, value in enumerate(args)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for what, value in named:
        try:
            pickle.dumps(value, PROTOCOL)
        except Exception as reason:
            return f"{what} is {value!r:.100}, a {_type(value)}, which cannot be pickled: {reason}"
    return f"the call cannot be pickled: {error}"


def _type(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
