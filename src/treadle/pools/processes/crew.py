"""The children of a pool: who lives, who runs what, and what each failure leads to.

    callers ── submit, cancel ──► Crew ◄── hear, tick ── Listener (one thread)
                                   │
         Schedule (who is given what)   Nursery (who lives)   Watch (limits)   Arena (large values)

What is authoritative: a call is in exactly one place until its future is done: in the queue, reserved for a child while
it is copied, or in `given` of one child. It changes its place under `_lock` only. The thread that calls writes to an
idle child by itself: each thread between a call and its child costs a wake-up, and wake-ups are what a call costs.

| failure | what it leads to |
|---|---|
| a child dies | what it wrote before is read first; the one call that it had started fails (WorkerCrashed); what it had not started goes to the front of the queue; another child is started when there is work |
| a child dies while a call is copied for it | the call goes back to the queue |
| the zygote dies | the kernel kills its children, and each is treated as dead; another zygote is started when there is work |
| a child cannot make itself ready | the initializer's error breaks the crew: every waiting call fails with it |
| three children or zygotes in a row die before they are ready | the same |
| the preload makes forks unsafe | a warning names the module, and a zygote without preload is started |
| a call is cancelled while it runs | what stands behind it is taken back, then its child is killed |
| a call is over its limit | its child is killed; nothing ever stands behind such a call |
| the owner forks | the forked process begins anew, with no children |
| the owner dies | the zygote sees its socket end, kills all groups, and ends |
"""

import contextlib
import logging
import os
import threading
import time
from concurrent.futures import CancelledError
from typing import Any
from weakref import WeakSet

from treadle.errors import PoolBroken, PoolError
from treadle.pools.processes import endings, pickling
from treadle.pools.processes.arena import Arena, Segment
from treadle.pools.processes.call import NOTHING, Call
from treadle.pools.processes.channel import HOLDS_SEGMENT, IN_SEGMENT, IN_SPARE, Frame, Kind
from treadle.pools.processes.endings import News
from treadle.pools.processes.launch import Recipe
from treadle.pools.processes.limits import Watch
from treadle.pools.processes.listener import Listener
from treadle.pools.processes.mapping import MapRun
from treadle.pools.processes.member import Member
from treadle.pools.processes.nursery import Crewing, Nursery, Rules
from treadle.pools.processes.schedule import STALLED_S, Schedule
from treadle.pools.stats import Histogram, Stats

ENDS = frozenset({int(Kind.RESULT), int(Kind.ERROR)})
GATHER_S = 0.001
"""Measured with tiny calls on two loaded cores: 18k a second without, 34k with 0.3 ms, 42k with 1 ms; with 2 ms and as
much more work in the children a worker's jobs got slower again."""
LOOK_EVERY_S = 0.001
"""No more often is looked for what is due, however many frames arrive."""


class Crew:
    """Up to `size` children, started when there is work for them."""

    def __init__(self, size: int, recipe: Recipe, rules: Rules) -> None:
        self._size = size
        self._recipe = recipe
        self._rules = rules
        self._forget()
        _crews.add(self)

    def _forget(self) -> None:
        """Begin anew, with nothing: at first, and in a forked process, whose children are not its own."""
        # Reentrant: the collector may close a dropped pool in the middle of anything.
        self._lock = threading.RLock()
        self._has_room = threading.Condition(self._lock)
        self._waiting_for_room = 0
        self.arena = Arena(max(2, self._size))
        self._schedule = Schedule(self._size, self.arena, self._wake_listener)
        self._nursery = Nursery(
            self._recipe, self._rules, self._schedule, self._lock,
            Crewing(self._hear, self._settle, self._give_up, self._wake),
        )  # fmt: skip
        self._watch = Watch()
        self._listener: Listener | None = None
        self._looked_s = 0.0
        self._is_closing = False
        self._broken: BaseException | None = None
        self.maps: WeakSet[MapRun] = WeakSet()
        """Those that may have something left to send."""
        self._done_count = 0
        self._waits, self._runs = Histogram(), Histogram()

    @property
    def size(self) -> int:
        return self._size

    @property
    def broken(self) -> BaseException | None:
        """Why no child can be started; None while all is well."""
        return self._broken

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that live now."""
        with self._lock:
            return [member.pid for member in self._schedule.members.values() if member.pid]

    def stats(self) -> Stats:
        with self._lock:
            return Stats(
                workers=len(self._schedule.members),
                busy=self._schedule.busy,
                queued=self._schedule.waiting,
                done=self._done_count,
                restarts=self._nursery.restarts,
                pids=tuple(self.pids),
                wait_s=self._waits.snapshot(),
                run_s=self._runs.snapshot(),
            )

    # The calling threads

    def submit(self, call: Call, max_queue: int | None = None, *, may_wait: bool = False) -> bool:
        """Give a call to an idle child, or queue it; False where `max_queue` calls wait already.

        `may_wait`: wait then until there is room. Raises RuntimeError, or PoolBroken.
        """
        call.sent_s = time.monotonic()
        with self._lock:
            self._check_open()
            if max_queue is not None and not self._find_room(max_queue, may_wait=may_wait):
                return False
            self._schedule.add(call)
            if call.is_queued:
                self._want_children_for(call)
        if self._schedule.to_load:
            self._load()
        return True

    def _want_children_for(self, call: Call) -> None:
        try:
            self._nursery.want()
        except RuntimeError:
            # No thread can be started (at the end of the program, or for want of memory): the call is refused.
            self._schedule.drop(call)
            raise

    def _check_open(self) -> None:
        if self._is_closing:
            raise RuntimeError("cannot schedule new futures after the pool was shut down")
        if self._broken is not None:
            raise PoolBroken(f"the children of this pool cannot be started: {self._broken}") from self._broken

    def _find_room(self, max_queue: int, *, may_wait: bool) -> bool:
        """Whether there is room in the queue. A child that is yet to be started has room for a call of its own."""
        while self._schedule.waiting >= max_queue + self._size - self._schedule.ready:
            if not may_wait or self._is_listening_here:
                return False
            self._waiting_for_room += 1
            self._has_room.wait()
            self._waiting_for_room -= 1
            self._check_open()
        return True

    @property
    def _is_listening_here(self) -> bool:
        return self._listener is not None and self._listener.is_this_thread

    def cancel(self, call: Call, *, even_if_running: bool = True) -> bool:
        """Take a call out, and with `even_if_running` kill the child that runs it; False where it goes on or is over."""
        with self._lock:
            if not self._take_out(call, even_if_running=even_if_running):
                return bool(call.cancelled())
            self._has_room.notify_all()
            if self._schedule.to_load:
                # By the listener: this may be a finalizer, in the middle of anything.
                self._wake()
        call.conclude_cancelled()
        return True

    def _take_out(self, call: Call, *, even_if_running: bool) -> bool:
        schedule, member = self._schedule, call.member
        if member is not None and member.reserved_for is call:
            # Who copies it will see that it was taken away.
            schedule.put_back([call])
        elif member is not None:
            schedule.put_back(member.take_back())
        if call.is_queued:
            schedule.drop(call)
            self._done_count += 1
            # It may have kept others waiting, for its cores or behind it.
            schedule.feed_idle()
            self._nursery.want()
            return True
        if member is None:
            return False
        # It has started. Where it is not the last that has, it has ended already, and its result is on its way.
        if not even_if_running or call is not member.given[-1]:
            return False
        self._end_for(call, CancelledError("the call was cancelled while it ran"))
        return True

    def is_running(self, call: Call) -> bool:
        """Whether a child was given it, and has nothing before it."""
        with self._lock:
            return call.member is not None and bool(call.member.given) and call.member.given[0] is call

    def close(self, *, wait: bool, cancel_queued: bool) -> None:
        for run in tuple(self.maps):
            # Where it cannot be sent, who asks for the results is told.
            with contextlib.suppress(PoolError):
                run.send_rest()
        with self._lock:
            self._is_closing = True
            if cancel_queued:
                self._schedule.take_all_back()
            abandoned = self._schedule.drop_all() if cancel_queued else []
            self._done_count += len(abandoned)
            listener = self._listener
            self._has_room.notify_all()
            self._wake()
        for call in abandoned:
            call.conclude_cancelled()
        if wait and listener is not None:
            listener.join()

    def _load(self) -> None:
        """Copy the large calls that were assigned, in this thread and without the lock."""
        while self._schedule.to_load:
            try:
                member, call = self._schedule.to_load.popleft()
            except IndexError:
                return  # Another thread was quicker.
            self._load_one(member, call)

    def _load_one(self, member: Member, call: Call) -> None:
        try:
            segment, parts = self.arena.pack(call.parcel.pieces)
        except BaseException as error:
            # Whatever it is, Ctrl-C included, the child must not stay reserved.
            self._could_not_load(member, call, error)
            if not isinstance(error, Exception):
                raise
            return
        with self._lock:
            if self._is_still_reserved(member, call):
                call.segment = segment
                self._schedule.send(member, [call], parts)
                return
            self._schedule.feed(member)
        self.arena.give_back(segment)

    def _could_not_load(self, member: Member, call: Call, error: BaseException) -> None:
        with self._lock:
            is_ours = self._is_still_reserved(member, call)
            if is_ours:
                self._schedule.ended(call)
            self._schedule.feed(member)
        if is_ours:
            call.set_exception(PoolError(f"the arguments cannot be copied for a child: {error!r}"))

    def _is_still_reserved(self, member: Member, call: Call) -> bool:
        """Whether the call was neither cancelled nor put back meanwhile; the child is not reserved any more."""
        is_reserved = member.reserved_for is call
        if is_reserved:
            member.reserved_for = None
        return is_reserved and call.member is member

    def _wake(self) -> None:
        if self._listener is None and not self._is_closing:
            listener = Listener(self.tick, self._despair)
            listener.start()
            self._listener = listener
        self._wake_listener()

    def _wake_listener(self) -> None:
        if self._listener is not None:
            self._listener.wake()

    def _end_for(self, call: Call, verdict: BaseException) -> None:
        """Kill the child that runs a call, which ends with this verdict."""
        member = call.member
        if member is None:
            return
        if not call.is_to_be_cancelled:
            # A limit does not take back what `cancel` has promised.
            call.verdict = verdict
        self._nursery.kill(member)

    # The listening thread

    def tick(self, listener: Listener) -> float | None:
        """Do what is due; returns in how many seconds there may be more, None: not before somebody says so."""
        self._gather()
        self._nursery.tick(listener)
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return LOOK_EVERY_S
        self._looked_s = now_s
        due_s = [*self._look(now_s), self.arena.trim()]
        news: list[News] = []
        with self._lock:
            self._schedule.forget_gone()
            for member in self._schedule.members.values():
                self._look_for_start(member, news)
        endings.tell(news)
        self._load()
        if self._is_closing:
            self._finish(listener)
        return min((wait_s for wait_s in due_s if wait_s is not None), default=None)

    def _look(self, now_s: float) -> list[float | None]:
        """What time has brought; returns when to look again, and again."""
        with self._lock:
            for call, verdict in self._watch.verdicts(now_s):
                self._end_for(call, verdict)
            level_s = self._schedule.level(now_s)
            if self._schedule.queue:
                self._nursery.want()
            return [
                level_s,
                self._nursery.let_leave(now_s),
                self._watch.next_s(now_s),
                self._schedule.take_spares_back(now_s),
                STALLED_S if self._schedule.busy else None,
            ]

    def _gather(self) -> None:
        """Let results gather while nobody waits for more: to be woken for each one halves what the pool gets done."""
        if self._schedule.is_saturated:
            time.sleep(GATHER_S)

    def _hear(self, member: Member) -> bool:
        """Take what a child has said; returns whether there was anything."""
        try:
            frames = member.channel.receive_waiting()
        except EOFError:
            # How it ended, its zygote will tell.
            if self._listener is not None:
                self._listener.unwatch(member.channel)
            return False
        news: list[News] = []
        with self._lock:
            self._take(member, frames, news)
            self._look_for_start(member, news)
            self._nursery.look_after(member)
            if len(member.given) <= member.refill_at:
                self._schedule.feed(member)
            if self._waiting_for_room:
                self._has_room.notify_all()
        self._load()
        # The children first: they must not wait for what a callback of a future does.
        endings.tell(news)
        return bool(frames)

    def _take(self, member: Member, frames: list[Frame], news: list[News]) -> None:
        """Note what a child says; what others must be told goes to `news`, to be told without the lock."""
        for frame in frames:
            kind = frame[0]
            if kind in ENDS:
                self._tell_start(member.given[0], news)
                news.append(self._take_end(member, frame))
            elif kind == Kind.STARTED:
                self._take_start(member, frame[3], news)
            elif kind == Kind.REPORT and member.given:
                call = member.given[0]
                self._tell_start(call, news)
                if call.on_progress is not None and not call.cancelled():
                    news.append((endings.report, call.on_progress, frame[3], None))
            elif kind == Kind.FENCED:
                member.is_fenced = False
            elif kind == Kind.READY:
                self._nursery.deaths_at_start = 0
                member.is_ready = True
                member.last_news_s = time.monotonic()
            elif kind == Kind.BROKEN:
                news.append((self._give_up_with, frame[3], None, None))

    def _take_end(self, member: Member, frame: Frame) -> News:
        _, flags, seconds, _ = frame
        call = member.given.popleft()
        member.last_news_s = time.monotonic()
        member.done_count += 1
        self._waits.add(call.given_s - call.sent_s)
        self._runs.add(seconds)
        call.function.measure(seconds)
        self._let_go(call, is_held=bool(flags & HOLDS_SEGMENT))
        segment = self._segment_of(member, flags)
        call.function.result_bytes = 0 if segment is None else segment.size
        return endings.conclude, call, frame, segment

    def _segment_of(self, member: Member, flags: int) -> Segment | None:
        """Where a large value lies: in one that the child has made, or in one that it was lent."""
        if flags & IN_SEGMENT:
            return Segment.received(member.channel.fds.popleft())
        return member.take_spare() if flags & IN_SPARE else None

    def _take_start(self, member: Member, memory_mb: bytes, news: list[News]) -> None:
        call = member.given[0]
        if call.is_limited:
            self._watch.begin(call, member, pickling.load(memory_mb) if memory_mb else 0.0)
        self._tell_start(call, news)

    def _tell_start(self, call: Call, news: list[News]) -> None:
        """Once."""
        if call.on_started is not None:
            news.append((endings.start, call.on_started, None, None))
            call.on_started = None

    def _look_for_start(self, member: Member, news: list[News]) -> None:
        """A call that stood behind another begins without a word."""
        if member.given and member.given[0].on_started is not None and (call := member.running) is not None:
            self._tell_start(call, news)

    def _let_go(self, call: Call, *, is_held: bool) -> None:
        """A call has ended, however: nothing of it is kept here."""
        self._done_count += 1
        self._schedule.ended(call)
        call.parcel = NOTHING
        # They may lead back to the call, and so keep it until the collector comes.
        call.on_started = call.on_progress = None
        if not call.is_alone:
            return
        self._watch.end(call)
        segment, call.segment = call.segment, None
        if segment is not None and not is_held:
            self.arena.give_back(segment)

    def _settle(self, member: Member, code: int | None, how: str) -> None:
        """A child is dead: what it had not started runs elsewhere, and what it had fails."""
        with self._lock:
            self._schedule.put_back(member.calls_not_started())
            failed, news = list(member.given), list[News]()
            for call in failed:
                self._tell_start(call, news)
                self._let_go(call, is_held=True)
            self._nursery.want()
            self._schedule.feed_idle()
        self._load()
        endings.tell([*news, *((endings.fail, call, (code, how), None) for call in failed)])
        if self._broken is not None:
            # What came back has nobody to go to.
            self._give_up(self._broken)

    def _give_up(self, reason: BaseException) -> None:
        """No child can be started: every call that waits fails with the reason, and every later one."""
        # Said also in the log: nobody may look at the futures. First, so that who finds the crew broken finds it said.
        if self._broken is None:
            logging.getLogger("treadle.pools").critical("the children of a pool cannot be started", exc_info=reason)
        with self._lock:
            self._broken = reason
            self._nursery.start_no_more()
            abandoned = self._schedule.drop_all()
            self._done_count += len(abandoned)
            self._has_room.notify_all()
        endings.tell([(endings.break_, call, reason, None) for call in abandoned])

    def _give_up_with(self, error: bytes, *_: Any) -> None:
        self._give_up(pickling.load_reason(error))

    def _despair(self, error: BaseException) -> None:
        """The listener has failed, which is a bug of ours: nobody may wait for ever."""
        self._give_up(error)
        with self._lock:
            members = list(self._schedule.members.values())
            calls = [call for member in members for call in (*member.given, member.reserved_for) if call is not None]
        endings.tell([(endings.break_, call, error, None) for call in calls])
        self._nursery.close(None)

    def _finish(self, listener: Listener) -> None:
        """Once nothing waits or runs, let all children leave; when they have, end."""
        with self._lock:
            if self._schedule.waiting or self._schedule.busy or not self._nursery.send_home():
                return
        self._nursery.close(listener)
        self.arena.close()
        listener.end()

    def close_inherited(self) -> None:
        """In a forked process: let go of what belongs to the parent, and begin anew."""
        # First, so that what is freed below finds no listener to wake: its locks may be held for ever here.
        listener, self._listener = self._listener, None
        self._nursery.abandon()
        if listener is not None:
            listener.abandon()
        is_closing = self._is_closing
        self._forget()
        self._is_closing = is_closing


_crews: "WeakSet[Crew]" = WeakSet()


def _forget_after_fork() -> None:
    for crew in _crews:
        crew.close_inherited()


os.register_at_fork(after_in_child=_forget_after_fork)
