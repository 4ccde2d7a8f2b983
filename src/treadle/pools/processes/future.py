"""A Future that is cheap while nobody waits for it."""

import sys
import threading
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING
from typing import Any

# Without the GIL a write of the state and a look at the condition may pass each other.
_IS_LAZY = getattr(sys, "_is_gil_enabled", lambda: True)()


class LightFuture(Future[Any]):
    """`concurrent.futures.Future`, with its condition made only when somebody waits, listens or cancels.

    The condition is 3 of the 4.5 µs that a Future costs from its making to its result, and most futures of a burst
    are done before anybody looks at them. Who waits makes the condition first and looks at the state then; who
    finishes sets the state first and looks for a condition then: so one of them always sees the other.
    """

    # The base class's __init__ does nothing but make what stands here, and the condition.
    def __init__(self) -> None:
        self._made_condition = None if _IS_LAZY else threading.Condition()
        self._state = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        if self._made_condition is None:
            with _making:
                self._made_condition = self._made_condition or threading.Condition()
        return self._made_condition

    def done(self) -> bool:
        return self._state == FINISHED or super().done()

    def result(self, timeout: float | None = None) -> Any:
        if self._state == FINISHED and self._exception is None:
            return self._result
        return super().result(timeout)

    def set_result(self, result: Any) -> None:
        if self._made_condition is not None or self._state != PENDING:
            super().set_result(result)
            return
        self._result = result
        self._state = FINISHED
        if self._made_condition is not None:
            self._tell_those_who_came_meanwhile()

    def _tell_those_who_came_meanwhile(self) -> None:
        with self._condition:
            for waiter in self._waiters:
                waiter.add_result(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]


_making = threading.Lock()
