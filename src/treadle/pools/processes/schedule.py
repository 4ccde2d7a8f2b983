"""Which child is given what, and when something is taken back from it.

* A call that finds an idle child is given to it at once, alone.
* While all are busy, calls wait in one queue. A child that runs low gets a batch: about 4 ms of work by what was
  measured, and never more than its share of the queue, so that the last ones are shared out evenly.
* No prediction has to be right: what stands behind a call that takes longer than it should is taken back, exactly, by
  its permits, and goes to the front of the queue.
* A call with limits, or a large one, is given to an idle child and has nothing behind it: it can be killed without a
  look at anybody else. One that takes several cores waits until so many children are idle, and keeps them so.

Nothing here takes a lock: the crew holds its own around every call.
"""

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from treadle.pools.processes import arena
from treadle.pools.processes.arena import Arena, Part, Segment
from treadle.pools.processes.call import NOTHING, Call, encode_batch
from treadle.pools.processes.member import Member
from treadle.pools.processes.wire import RawTask

SUPPLY_S = 0.004
"""How much work a batch holds. Less, and a child waits for its owner; more, and it waits for nothing."""
MOST_IN_BATCH = 1024
MOST_BYTES_IN_BATCH = 40 * 1024
PLENTY = 64
"""Calls that keep a child busy for half a millisecond, however tiny they are; ..."""
FEWER, PLENTY_S = 8, 0.001
"""... and more than so many that take so long by what was measured: one of a few might take all of it."""
SHARE_BYTES = 1024
"""What the kernel charges for the frame that introduces a shared segment, about."""
NOTHING_BEHIND_S = 0.01
"""Nothing is put behind a call of a function that takes longer than this on average."""
STALLED_S = 0.02
"""A child that has told no end for so long gives back what it has not started, ..."""
STALLED_WHILE_OTHERS_IDLE_S = 0.001
"""... and for so long, if another could run it at once."""


class Schedule:
    """The queue, and the children that may be given from it."""

    def __init__(self, size: int, arena: Arena, wake: Callable[[], None]) -> None:
        """`wake` has `forget_gone` called soon."""
        self.size = size
        self._arena = arena
        self._wake = wake
        self.members: dict[int, Member] = {}
        self.queue: deque[Call] = deque()
        self.to_load: deque[tuple[Member, Call]] = deque()
        """Large calls that were assigned and must be copied, by a thread that does not hold the lock."""
        self._idle: list[Member] = []
        self._segments: set[int] = set()
        self._gone: deque[int] = deque()
        self._cancelled = 0
        """Calls that were cancelled and are still in the queue: to search it would take longer."""
        self._extra_cores = 0

    @property
    def waiting(self) -> int:
        """How many calls no child was given."""
        return len(self.queue) - self._cancelled

    @property
    def ready(self) -> int:
        """How many children have made themselves ready, and stay."""
        staying = (m for m in self.members.values() if m.is_ready and not (m.is_leaving or m.is_killed))
        return min(self.size, sum(1 for _ in staying))

    @property
    def busy(self) -> int:
        return sum(member.is_busy for member in self.members.values())

    @property
    def is_saturated(self) -> bool:
        """Whether every child has so many calls that it needs no more soon."""
        return bool(self.members) and all(_has_plenty(member.given) for member in self.members.values())

    def add(self, call: Call) -> None:
        call.is_queued = True
        self.queue.append(call)
        if self._idle:
            self.feed_idle()

    def put_back(self, calls: Iterable[Call]) -> None:
        """To the front of the queue, in their order: they were there before."""
        for call in reversed(list(calls)):
            self._extra_cores -= call.cores - 1
            call.member = None
            call.is_queued = True
            self.queue.appendleft(call)

    def drop(self, call: Call) -> None:
        """A call in the queue was cancelled."""
        call.is_queued = False
        call.parcel, call.segment = NOTHING, None
        self._cancelled += 1

    def drop_all(self) -> list[Call]:
        """Empty the queue; returns what was in it."""
        calls = [call for call in self.queue if call.is_queued]
        for call in calls:
            call.is_queued = False
        self.queue.clear()
        self._cancelled = 0
        return calls

    def take_all_back(self) -> None:
        """What no child has started goes to the queue."""
        for member in self.members.values():
            self.put_back(member.take_back())
            if member.reserved_for is not None and member.reserved_for.member is member:
                # Who copies it will see that it was taken away.
                self.put_back([member.reserved_for])

    def abandon(self) -> None:
        """In a forked process: calls and children are the parent's, and who cancels one here changes nothing."""
        self.drop_all()
        for member in self.members.values():
            for call in (*member.given, *([member.reserved_for] if member.reserved_for else ())):
                call.member = None
            member.close()

    def feed_idle(self) -> None:
        """Give idle children what waits, as long as there is both."""
        while self._idle and self.queue:
            member = self._idle.pop()
            self.feed(member)
            if not member.is_busy:
                return

    def feed(self, member: Member) -> None:
        """Give a child what it should have now, or let it rest."""
        if not member.is_free:
            return
        batch = self._next_batch(member)
        if batch:
            self._hand_over(member, batch)
        elif not member.given and member not in self._idle:
            # The one that worked last is the next to work: its caches are warm.
            self._idle.append(member)
            member.tell_to_forget()

    def forget(self, member: Member) -> None:
        """It gets nothing any more."""
        if member in self._idle:
            self._idle.remove(member)

    @property
    def longest_idle(self) -> Member | None:
        return self._idle[0] if self._idle else None

    def ended(self, call: Call) -> None:
        """A call that was given has ended, however."""
        call.member = None
        if call.cores > 1:
            self._extra_cores -= call.cores - 1
            self.feed_idle()

    def level(self, now_s: float) -> float | None:
        """Take back what stands behind calls that take long. Returns in how many seconds to look again."""
        stalled_s = STALLED_WHILE_OTHERS_IDLE_S if self._idle else STALLED_S
        waiting = [m for m in self.members.values() if len(m.given) > 1 and not (m.is_fenced or m.is_killed)]
        for member in waiting:
            if now_s - member.last_news_s >= stalled_s:
                self.put_back(member.take_back())
        self.feed_idle()
        return stalled_s if waiting else None

    def _next_batch(self, member: Member) -> list[Call]:
        """What to give a child now, taken off the queue."""
        self._skip_cancelled()
        if not self.queue:
            return []
        head, given = self.queue[0], member.given
        if head.is_alone:
            return [] if given or not self._has_cores_for(head) else [self.queue.popleft()]
        if not given:
            return self._batch(member, max(1, self._share)) if self._has_cores_for(head) else []
        if given[0].is_alone or max(given[0].function.mean_s, head.function.mean_s) > NOTHING_BEHIND_S:
            return []
        return self._batch(member, self._share)

    @property
    def _share(self) -> int:
        return len(self.queue) // (2 * self.size)

    def _batch(self, member: Member, most: int) -> list[Call]:
        most = min(most, MOST_IN_BATCH, member.tasks_left)
        queue, batch = self.queue, list[Call]()
        left_s, left_bytes = SUPPLY_S, MOST_BYTES_IN_BATCH
        while queue and len(batch) < most:
            call = queue[0]
            left_s -= call.function.mean_s
            left_bytes -= len(call.parcel.body) + SHARE_BYTES * len(call.parcel.shares)
            if call.is_alone or (batch and (left_s < 0 or left_bytes < 0)):
                break
            queue.popleft()
            if call.is_queued:
                batch.append(call)
            else:
                self._cancelled -= 1
        return batch

    def _skip_cancelled(self) -> None:
        while self.queue and not self.queue[0].is_queued:
            self.queue.popleft()
            self._cancelled -= 1

    def _has_cores_for(self, call: Call) -> bool:
        if call.cores == 1 and not self._extra_cores:
            return True
        return self.busy + self._extra_cores + call.cores <= self.size

    def _hand_over(self, member: Member, batch: list[Call]) -> None:
        now_s = time.monotonic()
        for call in batch:
            call.is_queued = False
            call.member = member
            call.given_s = now_s
        self._extra_cores += batch[0].cores - 1
        if batch[0].is_large:
            member.reserved_for = batch[0]
            self.to_load.append((member, batch[0]))
        else:
            self.send(member, batch)

    def send(self, member: Member, batch: list[Call], parts: tuple[Part, ...] = ()) -> None:
        """Give a child the calls that are its own already, with all that it must know first."""
        functions: dict[int, bytes] = {}
        tasks: list[RawTask] = []
        for call in batch:
            function = call.function
            if function.number not in member.functions:
                member.functions.add(function.number)
                functions[function.number] = function.body
            if call.segment is not None or call.parcel.shares:
                self._introduce(call, member)
            # The start of one behind others shows in its child's permits: a frame for each would cost a third of all.
            tasks.append(call.on_wire(parts, tells_start=not (tasks or member.given)))
        if not member.given and batch[0].function.result_bytes:
            self._lend(member, batch[0].function.result_bytes)
        member.give(batch, encode_batch(functions, tasks))

    def _introduce(self, call: Call, member: Member) -> None:
        """The segments that a call names."""
        own = ((call.segment, False),) if call.segment is not None else ()
        for segment, is_shared in (*own, *((segment, True) for segment in call.parcel.shares)):
            self._note(segment)
            member.introduce(segment, is_shared=is_shared)

    def _note(self, segment: Segment) -> None:
        """Children learn it: they are to forget it when it is gone."""
        if segment.number not in self._segments:
            self._segments.add(segment.number)
            weakref.finalize(segment, self._on_gone, segment.number).atexit = False

    def _lend(self, member: Member, size: int) -> None:
        """Memory that was used before for its next result, where there is any."""
        if member.spare is not None and arena.fits(member.spare.size, size):
            return
        spare = self._arena.take_spare(size)
        if spare is not None:
            self._note(spare)
            self._swap_spare(member, spare)

    def _swap_spare(self, member: Member, spare: Segment | None) -> None:
        before = member.lend(spare)
        if before is not None:
            self._arena.give_back(before)

    def take_spares_back(self, now_s: float) -> float | None:
        """Those that idle children have not used for a while. Returns in how many seconds to look again."""
        lent = [(member, now_s - member.lent_s) for member in self._idle if member.spare is not None]
        for member, unused_s in lent:
            if unused_s >= arena.KEEP_FREE_S:
                self._swap_spare(member, None)
        return min((arena.KEEP_FREE_S - unused_s for _, unused_s in lent if unused_s < arena.KEEP_FREE_S), default=None)

    def forget_gone(self) -> None:
        """Tell the children of the segments that are gone."""
        while self._gone:
            number = self._gone.popleft()
            self._segments.discard(number)
            for member in self.members.values():
                member.forget(number)

    def _on_gone(self, number: int) -> None:
        # From a finalizer, in the middle of anything: it takes no lock that is not reentrant.
        self._gone.append(number)
        self._wake()


def _has_plenty(given: Sequence[Call]) -> bool:
    count = len(given)
    return count > PLENTY or (count > FEWER and count * given[0].function.mean_s > PLENTY_S)
