"""What every pool can do: run a function and give its future.

The future tells how the run ended:

    a value                  the function returned it
    CancelledError           the call was cancelled, before it started or (where the pool can) by a kill
    WorkerCrashed            the process died under it (also a BrokenProcessPool)
    Unpicklable              it could not travel to or from the child process
    any other exception      the function raised it; from another process the remote traceback is its cause

`treadle.testing.pool_contract` is the suite that each implementation passes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

Reporter = Callable[[Any], None]

_reporter: ContextVar[Reporter | None] = ContextVar("treadle_reporter", default=None)


def report(value: Any) -> None:
    """Send a value from inside a running call to its `on_progress`; lost where nobody asked for it."""
    reporter = _reporter.get()
    if reporter is not None:
        reporter(value)


@contextmanager
def reporting_to(reporter: Reporter | None) -> Iterator[None]:
    """While inside, `report` in this context calls `reporter`."""
    before = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(before)


class Pool(ABC):
    """Runs functions. Nothing is started before the first call."""

    in_process: bool
    """Functions run in this process: a crash of one takes the process along."""

    @abstractmethod
    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        on_started: Callable[[], None] | None = None,
        on_progress: Reporter | None = None,
    ) -> Future[Any]:
        """Run a function and return its future at once.

        `on_started` is called when a place was found for it, `on_progress` with each value that the
        function gives to `report`; both in a thread of the pool's, so they must be quick and must not
        raise. Raises RuntimeError after `shutdown`.
        """

    @abstractmethod
    def kill(self, future: Future[Any]) -> bool:
        """End a call, even while it runs; False where it has ended, or where this pool cannot."""

    @abstractmethod
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait` return when those taken have ended.

        `cancel_futures` cancels the calls that have not started. May be called again.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def run_into(
    future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Run a function here and put what it gives into a running future."""
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        # SystemExit and KeyboardInterrupt too, as concurrent.futures does: they belong to the caller.
        future.set_exception(error)
    else:
        future.set_result(value)
