"""What every pool can do: run a function and give its future.

The future tells how the run ended:

    a value                  the function returned it
    CancelledError           the call was cancelled, before it started or (where the pool can) by a kill
    TaskTimeout              it ran longer than its limit and was killed (also a TimeoutError)
    MemoryLimitExceeded      it took more memory than its limit and was killed (also a MemoryError)
    WorkerCrashed            the process died under it (also a BrokenProcessPool)
    Unpicklable              it could not travel to or from the child process
    Unreadable               it travelled, and could not be unpickled there (both, and also a BrokenProcessPool)
    any other exception      the function raised it; from another process the remote traceback is its cause

`treadle.testing.pool_contract` is the suite that each implementation passes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from treadle.errors import LimitNotKept

Reporter = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may use; None: no limit. A pool that cannot keep one refuses the call."""

    timeout_s: float | None = None
    """Counted from the moment the function starts; then its process is killed."""
    memory_mb: float | None = None
    """How much its process may grow while it runs, shared pages not counted; then it is killed."""
    cores: int | None = None
    """How many of the pool's workers the call takes up, and how many threads BLAS may use in it; 1 where None."""

    def __post_init__(self) -> None:
        for name, value in (("timeout_s", self.timeout_s), ("memory_mb", self.memory_mb)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, got {value!r}")
        if self.cores is not None and (type(self.cores) is not int or self.cores < 1):
            raise ValueError(f"cores must be a whole number of at least 1, got {self.cores!r}")

    @classmethod
    def of(cls, timeout_s: float | None, memory_mb: float | None, cores: int | None) -> "Limits":
        """These limits; NO_LIMITS where there is none, which most calls have, and which costs nothing to make."""
        if timeout_s is None and memory_mb is None and cores is None:
            return NO_LIMITS
        return cls(timeout_s, memory_mb, cores)

    def refuse(self, pool: str, reason: str) -> None:
        """Raises LimitNotKept where there is any limit: `pool` cannot keep it, for this reason."""
        for name in ("timeout_s", "memory_mb", "cores"):
            if (value := getattr(self, name)) is not None:
                raise LimitNotKept(f"{pool} cannot keep {name}={value}: {reason}; use ProcessPool")


NO_LIMITS = Limits()

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
        timeout_s: float | None = None,
        memory_mb: float | None = None,
        cores: int | None = None,
        on_started: Callable[[], None] | None = None,
        on_progress: Reporter | None = None,
    ) -> Future[Any]:
        """Run a function and return its future at once.

        `timeout_s`, `memory_mb` and `cores` are the call's `Limits`. `on_started` is called when the
        function starts, `on_progress` with each value that it gives to `report`; both in a thread of
        the pool's, so they must be quick and must not raise.

        Raises RuntimeError after `shutdown`, ValueError for a limit that is none, and LimitNotKept for
        one that this pool cannot keep.
        """

    @abstractmethod
    def kill(self, future: Future[Any]) -> bool:
        """End a call, even while it runs; False where it has ended, or where this pool cannot.

        Its future ends with CancelledError, whichever way it was told.
        """

    def cancel_waiting(self, future: Future[Any]) -> bool:
        """Cancel a call that has not started: True means that it never will; a call that runs goes on.

        `Future.cancel` is this very promise in `concurrent.futures`; a pool whose futures end what runs keeps it here.
        """
        return future.cancel()

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
