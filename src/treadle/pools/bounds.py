"""A bounded queue: what becomes of a call for which a pool has no room."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Literal

from treadle.errors import QueueFull
from treadle.pools.contract import NO_LIMITS, Limits, Reporter
from treadle.pools.inline import InlinePool

WhenFull = Literal["raise", "wait", "run"]


def check(max_queue: int | None, when_full: str) -> None:
    """Raises ValueError for a queue without room, or a policy that there is not."""
    if max_queue is not None and max_queue < 1:
        raise ValueError(f"max_queue must be at least 1, got {max_queue}")
    if when_full not in ("raise", "wait", "run"):
        raise ValueError(f"when_full must be 'raise', 'wait' or 'run', got {when_full!r}")


def overflow(
    max_queue: int | None,
    when_full: WhenFull,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    *,
    limits: Limits = NO_LIMITS,
    on_started: Callable[[], None] | None = None,
    on_progress: Reporter | None = None,
) -> Future[Any]:
    """Run the call here, or raise QueueFull: where that was chosen, and where the call has limits."""
    if when_full == "raise":
        raise QueueFull(f"{max_queue} calls wait already; try again later, or make the pool with when_full='wait'")
    if limits != NO_LIMITS:
        raise QueueFull(f"{max_queue} calls wait already, and the limits of a call cannot be kept in its caller")
    return InlinePool().call(function, args, kwargs, on_started=on_started, on_progress=on_progress)
