"""The measured libraries, one module each: the same job, sent and run as each library's documentation says."""

from collections.abc import Callable
from typing import Protocol


class App(Protocol):
    """What each module here offers."""

    def prepare(self) -> None:
        """Make the tables, where they are not there."""
        ...

    def send(self) -> object:
        """Send one job, in a transaction of its own."""
        ...

    def send_each(self, count: int) -> None:
        """Send so many, one by one: `one_by_one(send)`, or the same in one coroutine."""
        ...

    def unfinished(self) -> int:
        """How many jobs the library itself still takes for unfinished."""
        ...


class BulkApp(App, Protocol):
    """What a library offers that can send many jobs at once."""

    def send_bulk(self, count: int) -> object:
        """Send so many in one call."""
        ...


def one_by_one(send: Callable[[], object]) -> Callable[[int], None]:
    """What sends so many, each by a call of `send`."""

    def send_each(count: int) -> None:
        for _ in range(count):
            send()

    return send_each
