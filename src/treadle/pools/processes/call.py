"""A call: a function on its way, and the future of what it gives."""

import pickle
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures._base import CANCELLED
from typing import TYPE_CHECKING, Protocol

from treadle.pools.contract import NO_LIMITS, Limits, Reporter
from treadle.pools.processes.arena import Arena, Part, Segment
from treadle.pools.processes.functions import Function
from treadle.pools.processes.future import LightFuture
from treadle.pools.processes.pickling import Parcel
from treadle.pools.processes.wire import TELLS_MEMORY, TELLS_START, WANTS_REPORTS, RawTask

if TYPE_CHECKING:
    from treadle.pools.processes.member import Member

NOTHING = Parcel(b"")
INLINE_BYTES = 32 * 1024
"""A longer pickle travels in a segment, so that a frame with the largest body and its surroundings fits 64 KB."""


class Home(Protocol):
    """What a call knows of the crew that took it."""

    arena: Arena

    def cancel(self, call: "Call", *, even_if_running: bool = True) -> bool: ...
    def is_running(self, call: "Call") -> bool: ...


class Call(LightFuture):
    """One function with its arguments. Where it stands changes under the crew's lock only."""

    limits = NO_LIMITS
    on_started: Callable[[], None] | None = None
    """Until it is called."""
    on_progress: Reporter | None = None
    is_queued = False
    member: "Member | None" = None
    """The child that was given it; None while it waits, and when it is over."""
    segment: Segment | None = None
    """Where it lies, if it is large and was given."""
    verdict: BaseException | None = None
    """Why its child was killed, where that was for its sake."""
    sent_s = 0.0
    given_s = 0.0
    """When a child was given it; it may be taken back, and given to another later."""
    cores = 1

    def __init__(self, crew: Home, function: Function, parcel: Parcel) -> None:
        super().__init__()
        self.crew = crew
        self.function = function
        self.parcel = parcel
        self.is_large = bool(parcel.buffers) or len(parcel.body) > INLINE_BYTES
        self.is_alone = self.is_large
        """It is given to an idle child only, with nothing behind it."""

    def limit(self, limits: Limits) -> None:
        """Before it is sent."""
        if limits is not NO_LIMITS and limits != NO_LIMITS:
            self.limits = limits
            self.cores = limits.cores or 1
            self.is_alone = True

    def cancel(self) -> bool:
        """Cancel it, and kill the child that runs it where it has started; False where it has ended."""
        return self.crew.cancel(self)

    def cancel_if_waiting(self) -> bool:
        """Cancel it where it has not started, as `Future.cancel` of the standard library does."""
        return self.crew.cancel(self, even_if_running=False)

    def running(self) -> bool:
        return not self.done() and self.crew.is_running(self)

    def conclude_cancelled(self) -> None:
        """Tell everybody who waits, once, whoever comes first: who cancels, or who buries the child."""
        if not super().cancel():
            return
        with self._condition:
            if self._state == CANCELLED:
                # This tells `wait` and `as_completed`.
                self.set_running_or_notify_cancel()

    @property
    def is_to_be_cancelled(self) -> bool:
        """It was cancelled while it ran; who did so may not have told the future yet."""
        return self.verdict is not None and isinstance(self.verdict, CancelledError)

    def on_wire(self, parts: tuple[Part, ...] = (), *, tells_start: bool) -> RawTask:
        """A WireTask, as a plain tuple: those pickle in a third of the time. `tells_start`: somebody may want to know."""
        flags = TELLS_START if self.is_limited or (tells_start and self.on_started) else 0
        if self.limits.memory_mb is not None:
            flags |= TELLS_MEMORY
        if self.on_progress:
            flags |= WANTS_REPORTS
        if self.segment is None:
            return self.function.number, flags, self.cores, self.parcel.body, 0, ()
        return self.function.number, flags, self.cores, b"", self.segment.number, parts

    @property
    def is_limited(self) -> bool:
        return self.limits is not NO_LIMITS


def encode_batch(functions: dict[int, bytes], tasks: list[RawTask]) -> bytes:
    """The body of the frame."""
    return pickle.dumps((functions, tasks), pickle.HIGHEST_PROTOCOL)
