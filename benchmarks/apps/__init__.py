"""The measured libraries, one module each: the same job, sent and run as each library's documentation says."""

from typing import Protocol


class App(Protocol):
    """What each module here offers."""

    def prepare(self) -> None:
        """Make the tables."""
        ...

    def send(self) -> object:
        """Send one job, in a transaction of its own."""
        ...

    def unfinished(self) -> int:
        """How many jobs the library itself still takes for unfinished."""
        ...
