"""The functions that a pool has run, by number: a child is sent each once, and calls name it from then on."""

import itertools
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from treadle.pools.processes.pickling import dump_function
from treadle.task import Task

UNKNOWN_S = 1.0
"""How long a function is taken to run before it was measured: too long to put anything behind it."""
_RECENT = 0.2
"""The weight of the last run in the mean."""


class Function:
    """A function as the owner knows it."""

    __slots__ = ("body", "mean_s", "number", "result_bytes")

    def __init__(self, number: int, body: bytes) -> None:
        self.number = number
        self.body = body
        self.mean_s = UNKNOWN_S
        self.result_bytes = 0
        """The size of the segment in which the last result lay; 0 where it needed none."""

    def measure(self, seconds: float) -> None:
        """Learn how long a run took."""
        if self.mean_s == UNKNOWN_S:
            self.mean_s = seconds
        else:
            self.mean_s += _RECENT * (seconds - self.mean_s)


class Functions:
    """Only functions that pickle as a name have a number: what else is callable may change between two calls."""

    def __init__(self) -> None:
        self._known: dict[Any, Function] = {}
        self._numbers = itertools.count(1)
        self.in_call = Function(0, b"")
        """Stands for every callable that travels in its call."""

    def find(self, function: Callable[..., Any]) -> Function:
        """The function's entry. Raises Unpicklable for one that has a name, but none that a child could import."""
        known = self._known.get(function) if type(function) in _BY_NAME else self._known_task(function)
        if known is not None:
            return known
        if not _goes_by_name(function):
            return self.in_call
        return self._add(function, dump_function(function))

    def _known_task(self, function: Any) -> Function | None:
        # Each `task.options()` makes another object of the same function.
        return self._known.get(_task_key(function)) if isinstance(function, Task) else None

    def _add(self, function: Any, body: bytes) -> Function:
        key = _task_key(function) if isinstance(function, Task) else function
        return self._known.setdefault(key, Function(next(self._numbers), body))


_BY_NAME = frozenset({FunctionType, BuiltinFunctionType, type})


def _task_key(task: Task[..., Any]) -> tuple[str, str]:
    return task.module, task.qualname


def _goes_by_name(function: Any) -> bool:
    if isinstance(function, BuiltinFunctionType):
        return function.__self__ is None or isinstance(function.__self__, ModuleType)
    return type(function) in _BY_NAME or isinstance(function, Task)
