"""A connection that gives up a server which does not answer.

TCP tells of a machine that has vanished, but not of a proxy or a server that keeps the connection and is silent: a
statement would wait for ever then, and with it a worker.
"""

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from treadle.clock import Clock, SystemClock

ANSWER_TIMEOUT_S = 30.0
"""How long a statement waits for its answer where the settings do not say."""
LOOK_EVERY_S = 0.1
"""How often a wait looks at the clock: psycopg's own interval."""


class ImpatientConnection(psycopg.Connection[Any]):
    """Closes itself when an answer takes longer than `answer_timeout_s`, and raises OperationalError."""

    answer_timeout_s: float = ANSWER_TIMEOUT_S
    clock: Clock = SystemClock()

    def wait(self, gen: Generator[Any, Any, Any], interval: float = LOOK_EVERY_S, timeout: float | None = None) -> Any:
        """What all verbs of psycopg wait with: resumes `gen` when the server has said something, and every `interval`."""
        try:
            # Older ones have no such argument, and never give it.
            return super().wait(self._bounded(gen), interval, **({} if timeout is None else {"timeout": timeout}))
        except _NoAnswer:
            # Not `close`, which would tell the server first: it is that which does not listen.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {self.answer_timeout_s:g} s") from None

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline_s = self.clock.monotonic_s() + self.answer_timeout_s
        try:
            wanted = next(gen)
            while True:
                is_ready = yield wanted
                if not is_ready and self.clock.monotonic_s() > deadline_s:
                    raise _NoAnswer
                wanted = gen.send(is_ready)
        except StopIteration as end:
            return end.value


@contextmanager
def patient(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Wait as long as it takes: for what may rewrite a table, or for another who does."""
    if not isinstance(connection, ImpatientConnection):
        yield
        return
    connection.answer_timeout_s, timeout_s = math.inf, connection.answer_timeout_s
    try:
        yield
    finally:
        connection.answer_timeout_s = timeout_s


class _NoAnswer(Exception):
    """Ends a wait from within."""
