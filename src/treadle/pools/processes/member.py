"""A child as its owner sees it."""

import itertools
import pickle
import socket
import sys
import time
from collections import deque
from typing import Any

from treadle.pools.processes.arena import Segment
from treadle.pools.processes.call import Call
from treadle.pools.processes.channel import Channel, Kind
from treadle.pools.processes.permits import Permits

_SEND_BUFFER_BYTES = 1024 * 1024
_numbers = itertools.count(1)


class Member:
    """One child. Everything here changes under the crew's lock only.

        starting ──READY──► idle ◄──────► busy (`given` is not empty)
            │                 │             │
            └───────── leaving / killed ────┴──DIED──► gone

    `given` are the calls that it was sent and has not ended, in the order in which it runs them: the first may run, and
    permits in the pipe say how many of the last have not started.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.number = next(_numbers)
        self.channel = Channel(ours)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.child_end = theirs
        self.permits = Permits()
        self.pid = 0
        self.is_ready = False
        self.is_leaving = False
        """It gets no more calls, and ends when it has none."""
        self.is_killed = False
        self.is_fenced = False
        """Calls were taken back from it, and it has not answered the fence yet: no permits before that."""
        self.reserved_for: Call | None = None
        """A large call that is being copied for it."""
        self.given: deque[Call] = deque()
        self.functions: set[int] = set()
        self.segments: set[int] = set()
        """Those that it has mapped."""
        self.spare: Segment | None = None
        """It was lent for a large result: what it fills itself nobody else may write to."""
        self.lent_s = 0.0
        self._to_forget: list[int] = []
        self.refill_at = 0
        """It gets more when it has no more than so many calls."""
        self.done_count = 0
        self.last_news_s = time.monotonic()
        """When it was ready, was given something while idle, or has told the end of a call."""
        self.tasks_left = sys.maxsize
        """After so many more it is replaced."""
        self.dismissed_s: float | None = None
        """When it was told to end."""

    @property
    def is_free(self) -> bool:
        """It may be given calls."""
        return (
            self.is_ready
            and self.tasks_left > 0
            and not (self.is_leaving or self.is_killed or self.is_fenced or self.is_reserved)
        )

    @property
    def is_idle(self) -> bool:
        return self.is_free and not self.given

    @property
    def is_busy(self) -> bool:
        return bool(self.given) or self.is_reserved

    @property
    def is_reserved(self) -> bool:
        return self.reserved_for is not None

    def give(self, calls: list[Call], frame: bytes) -> None:
        """Hand calls over. Permits first: a child that finds no permit takes the call for taken back.

        A child that is gone keeps its permits unread, so its calls are found not started when its death is told.
        """
        if not self.given:
            self.last_news_s = time.monotonic()
        self.tasks_left -= len(calls)
        self.permits.grant(len(calls))
        self.given.extend(calls)
        self.refill_at = len(self.given) // 2
        self.tell_to_forget()
        self.send(Kind.BATCH, frame)

    def introduce(self, segment: Segment, *, is_shared: bool) -> None:
        """Before a call names it."""
        if segment.number not in self.segments:
            self.segments.add(segment.number)
            self.send(Kind.SEGMENT, pickle.dumps((segment.number, is_shared)), fds=(segment.fd,))

    def lend(self, spare: Segment | None) -> Segment | None:
        """Lend it another segment for a result, or none; returns the one before, which is free.

        Only while it has nothing to do: else it may be filling the one before.
        """
        before, self.spare, self.lent_s = self.spare, spare, time.monotonic()
        if spare is not None:
            self.introduce(spare, is_shared=False)
        self.send(Kind.SPARE, pickle.dumps((spare.number if spare else 0, False)))
        return before

    def take_spare(self) -> Segment | None:
        """It has filled it."""
        spare, self.spare = self.spare, None
        return spare

    def forget(self, number: int) -> None:
        """A segment is gone: have it unmapped, with the next batch at the latest."""
        if number in self.segments:
            self.segments.remove(number)
            self._to_forget.append(number)
        if not self.given:
            self.tell_to_forget()

    def tell_to_forget(self) -> None:
        # All in one frame, and only to a child that reads: many would fill its socket while it works.
        if self._to_forget:
            self.send(Kind.FORGET, pickle.dumps((self._to_forget, False)))
            self._to_forget = []

    @property
    def running(self) -> Call | None:
        """The first of its calls, if it has started."""
        return self.given[0] if self.given and len(self.given) > self.permits.left else None

    def take_back(self) -> list[Call]:
        """The calls that it has not started and never will, in their order."""
        calls = [self.given.pop() for _ in range(self.permits.take_back())]
        calls.reverse()
        self.tasks_left += len(calls)
        if calls and not self.is_fenced:
            self.is_fenced = True
            self.send(Kind.FENCE)
        return calls

    def calls_not_started(self) -> list[Call]:
        """When it is dead: the calls that may run elsewhere; those left in `given` had started."""
        calls = self.take_back()
        if self.reserved_for is not None and self.reserved_for.member is self:
            # Else it was cancelled meanwhile.
            calls.append(self.reserved_for)
        self.reserved_for = None
        return calls

    def dismiss(self) -> None:
        """Let it end by itself, as it does when its socket ends."""
        if self.dismissed_s is None:
            self.dismissed_s = time.monotonic()
            self.channel.hang_up()

    def send(self, kind: int, body: bytes = b"", **how: Any) -> None:
        try:
            self.channel.send(kind, body, **how)
        except OSError:
            # It is gone, and its death will be told; or it cannot be told all it must know, and so it must go.
            self.channel.hang_up()

    def close(self) -> None:
        self.channel.close()
        self.permits.close()
