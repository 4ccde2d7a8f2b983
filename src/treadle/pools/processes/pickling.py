"""How calls and what they give travel, and clear errors where they cannot.

A function goes by name, and large buffers go apart (`arena.py`). What is defined in `__main__` is found by importing
the owner's main module in the child, as multiprocessing does, but only when it is first needed: the main module of a
web process is gunicorn's or flask's, which no child has any use for.
"""

import mmap
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import process as stdlib_process
from multiprocessing import spawn
from types import ModuleType
from typing import Any, NamedTuple

from treadle.errors import Unpicklable
from treadle.pools.processes.arena import Part, is_large, views

PROTOCOL = pickle.HIGHEST_PROTOCOL

# Pickles an exception with its traceback as text; unpickled it is the exception, with a _RemoteTraceback
# as its cause. The same two classes as in concurrent.futures, so that tools that know them know ours.
_ExceptionWithTraceback: Any = stdlib_process._ExceptionWithTraceback

travelling = threading.local()
"""`shares`: while a call is pickled, the shared segments that it names (`shared.py`)."""


class Parcel(NamedTuple):
    """A value on its way: its pickle, the large buffers that are not in it, and the shared segments that it names."""

    body: bytes
    buffers: tuple[pickle.PickleBuffer, ...] = ()
    shares: tuple[Any, ...] = ()

    @property
    def pieces(self) -> list[memoryview]:
        """What is copied into a segment."""
        return [*(buffer.raw() for buffer in self.buffers), memoryview(self.body)]


def dump(value: Any, what: str) -> bytes:
    """A value, all in one. Raises Unpicklable."""
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception as error:
        raise Unpicklable(f"{what} is a {_type(value)}, which cannot be pickled: {error}") from error


def pack(value: Any) -> Parcel:
    """Raises whatever pickling raises."""
    apart = _Apart()
    body = pickle.dumps(value, PROTOCOL, buffer_callback=apart)
    return Parcel(body, tuple(apart)) if apart else Parcel(body)


class _Apart(list[pickle.PickleBuffer]):
    """Collects the buffers that travel apart; one object, where a function with its cell would be three."""

    __slots__ = ()

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether pickle is to keep the buffer to itself."""
        if not is_large(buffer):
            return True
        self.append(buffer)
        return False


def pack_call(function: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Parcel:
    """A call; `function` is None where it goes by its number. Raises Unpicklable, naming what cannot travel."""
    try:
        # Only that module makes arrays that look for who is packing them.
        if "treadle.pools.processes.shared" in sys.modules:
            return _pack_with_shares((function, args, kwargs))
        return pack((function, args, kwargs))
    except Exception as error:
        raise Unpicklable(_blame(function, args, kwargs, error)) from error


def _pack_with_shares(value: Any) -> Parcel:
    shares = travelling.shares = []
    try:
        return pack(value)._replace(shares=tuple(shares))
    finally:
        travelling.shares = None


def dump_function(function: Callable[..., Any]) -> bytes:
    """Raises Unpicklable."""
    try:
        return pickle.dumps(function, PROTOCOL)
    except Exception as error:
        raise Unpicklable(_blame(function, (), {}, error)) from error


def pack_value(value: Any, what: str) -> Parcel:
    """Raises Unpicklable."""
    try:
        return pack(value)
    except Exception as error:
        raise Unpicklable(f"{what} is a {_type(value)}, which cannot be pickled: {error}") from error


def with_traceback(error: BaseException) -> Any:
    """What pickles as the exception with its traceback, told in words, as its cause."""
    return _ExceptionWithTraceback(error, error.__traceback__)


def dump_error(error: BaseException) -> bytes:
    """An exception for the other side; one that cannot travel is told in words."""
    # Told first: the class below takes the traceback off the exception.
    told = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps(with_traceback(error), PROTOCOL)
        # Many exceptions pickle and cannot be made again, for want of an argument.
        pickle.loads(data)
    except Exception as reason:
        what = _safely(str, error)
        stand_in = Unpicklable(
            f"the function raised {_type(error)}: {what}; it cannot be pickled: {_safely(str, reason)}\n{told}"
        )
        return pickle.dumps(stand_in, PROTOCOL)
    return data


def load(body: bytes | memoryview, buffers: Iterable[memoryview] = ()) -> Any:
    """What was pickled by the other side of a private socket, which is this very program."""
    return pickle.loads(body, buffers=buffers)


def load_reason(body: bytes) -> BaseException:
    """Why a zygote or a child could not make itself ready; in words, where that cannot be unpickled here."""
    try:
        return load(body)  # type: ignore[no-any-return]
    except BaseException as error:
        return Unpicklable(f"the error at its start cannot be unpickled here: {error!r}")


def load_from(memory: mmap.mmap, parts: Sequence[Part]) -> Any:
    """The value whose pieces lie in a segment; its buffers stay there."""
    *buffers, body = views(memoryview(memory), parts)
    return load(body, buffers)


class LateMain(ModuleType):
    """Stands for `__main__` in a child; becomes the owner's main module when something of it is looked for."""

    def __init__(self, main: dict[str, str]) -> None:
        super().__init__("__main__")
        self.__dict__["_how"] = main

    def __getattr__(self, name: str) -> Any:
        how = self.__dict__.get("_how")
        if how is None or name.startswith("__"):
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        # Not again from within: the owner's main module may look at what it is itself.
        self.__dict__["_how"] = None
        try:
            spawn.prepare(how)
        finally:
            self.__dict__["_how"] = how
        return getattr(sys.modules["__main__"], name)


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
            told = _safely(repr, value)[:100]
            return f"{what} is {told}, a {_type(value)}, which cannot be pickled: {_safely(str, reason)}"
    return f"the call cannot be pickled: {_safely(str, error)}"


def _safely(tell: Callable[[Any], str], value: Any) -> str:
    """What cannot be pickled may not be able to tell of itself either."""
    try:
        return tell(value)
    except Exception:
        return f"<a {_type(value)}>"


def name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _type(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
