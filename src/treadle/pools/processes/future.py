"""A Future that is cheap while nobody waits for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING
from typing import Any

from treadle.cores import has_gil

# Without the GIL a write of the state and a look at the condition may pass each other.
_IS_LAZY = has_gil()


class LightFuture(Future[Any]):
    """`concurrent.futures.Future`, with its condition made only when somebody waits, cancels, or listens beside others.

    The condition is 3 of the 4.5 µs that a Future costs from its making to its result, and most futures of a burst
    are done before anybody looks at them. Who waits makes the condition first and looks at the state then; who
    finishes sets the state first and looks for a condition then: so one of them always sees the other. Likewise with the
    first callback: who finds that the other was there too takes it out of the object's dictionary, which only one can.
    """

    # What the base class's __init__ would make for each future, until it is needed: most never need it. Who
    # touches the two lists has asked for the condition first.
    _made_condition: threading.Condition | None = None
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()
    _first_callback: list[Callable[[Future[Any]], object]] | None = None

    def __init__(self) -> None:
        if not _IS_LAZY:
            super().__init__()

    @property
    def _condition(self) -> threading.Condition:
        if self._made_condition is None:
            with _making:
                if self._made_condition is None:
                    self._waiters, self._done_callbacks = [], []
                    self._made_condition = threading.Condition()
        return self._made_condition

    @_condition.setter
    def _condition(self, condition: threading.Condition) -> None:
        self._made_condition = condition

    def done(self) -> bool:
        return self._state == FINISHED or super().done()

    def cancelled(self) -> bool:
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def result(self, timeout: float | None = None) -> Any:
        if self._state == FINISHED and self._exception is None:
            return self._result
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self._exception if self._state == FINISHED else super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        # In a list of its own: the same function may be added twice, and at once.
        first = [fn]
        if not _IS_LAZY or self.__dict__.setdefault("_first_callback", first) is not first:
            super().add_done_callback(fn)
        elif self._state != PENDING:
            self._call_first()

    def _call_first(self) -> None:
        for callback in self.__dict__.pop("_first_callback", ()):
            try:
                callback(self)
            except Exception:
                LOGGER.exception("exception calling callback for %r", self)

    def _invoke_callbacks(self) -> None:
        self._call_first()
        super()._invoke_callbacks()  # type: ignore[misc]

    def set_result(self, result: Any) -> None:
        if self._made_condition is not None or self._state != PENDING:
            super().set_result(result)
            return
        self._result = result
        self._state = FINISHED
        if self._made_condition is not None:
            self._tell_those_who_came_meanwhile()
        elif self._first_callback is not None:
            self._call_first()

    def _tell_those_who_came_meanwhile(self) -> None:
        with self._condition:
            for waiter in self._waiters:
                waiter.add_result(self)
            self._condition.notify_all()
        self._invoke_callbacks()


_making = threading.Lock()
