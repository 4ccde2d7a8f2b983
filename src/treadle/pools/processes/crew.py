"""The children of a pool: who lives, who runs what, and what each failure leads to.

    callers ── submit, cancel ──► Crew ◄── hear, tick ── Listener (one thread)
                                   │
                    Schedule (queue, batches)   Forker (the zygote)   Watch (limits)   Arena (large values)

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
| a call is over its limit, or cancelled | what stands behind it is taken back, then its child is killed |
| the owner forks | the forked process begins anew, with no children |
| the owner dies | the zygote sees its socket end, kills all groups, and ends |
"""

import contextlib
import logging
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

from treadle.errors import PoolBroken, PoolError, Unpicklable, WorkerCrashed
from treadle.pools.processes import pickling
from treadle.pools.processes.arena import Arena
from treadle.pools.processes.call import NOTHING, Call
from treadle.pools.processes.channel import HOLDS_SEGMENT, IN_SEGMENT, Frame, Kind
from treadle.pools.processes.forker import Forker, end_orphans
from treadle.pools.processes.launch import Recipe
from treadle.pools.processes.limits import Watch, resident_mb
from treadle.pools.processes.listener import Listener
from treadle.pools.processes.member import Member
from treadle.pools.processes.schedule import STALLED_S, Schedule
from treadle.pools.processes.stats import Histogram, Stats

MAX_DEATHS_AT_START = 3
PATIENCE_S = 2.0
"""How long a child may take to leave before it is killed."""
ENDS = frozenset({int(Kind.RESULT), int(Kind.ERROR)})
LOOK_EVERY_S = 0.001
"""No more often is looked for what is due, however many frames arrive."""


class Rules(NamedTuple):
    """How a crew is kept."""

    recycle_after_tasks: int | None = None
    recycle_over_rss_mb: float | None = None
    idle_timeout_s: float | None = 60.0


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
        self._schedule = Schedule(self._size)
        self._watch = Watch()
        self.arena = Arena()
        self._listener: Listener | None = None
        self._forker: Forker | None = None
        self._is_forker_ready = False
        self._is_forker_needed = True
        self._wanted = 0
        self._looked_s = 0.0
        self._deaths_at_start = 0
        self._is_closing = False
        self._broken: BaseException | None = None
        self._done_count = 0
        self._restarts = 0
        self._runs = Histogram()

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
                restarts=self._restarts,
                pids=tuple(self.pids),
                wait_s=self._schedule.waits.snapshot(),
                run_s=self._runs.snapshot(),
            )

    # The calling threads

    def submit(self, call: Call) -> None:
        """Give a call to an idle child, or queue it. Raises RuntimeError, or PoolBroken."""
        call.sent_s = time.monotonic()
        with self._lock:
            self._check_open()
            self._schedule.add(call)
            if call.is_queued:
                self._want_children()
        if self._schedule.to_load:
            self._load()

    def _check_open(self) -> None:
        if self._is_closing:
            raise RuntimeError("cannot call a function after the pool was shut down")
        if self._broken is not None:
            raise PoolBroken(f"the children of this pool cannot be started: {self._broken}") from self._broken

    def room(self, max_queue: int, *, wait: bool) -> bool:
        """Whether fewer than `max_queue` calls wait; with `wait`, once that is so."""
        with self._lock:
            while self._schedule.waiting >= max_queue and not self._is_closing and self._broken is None:
                if not wait or self._is_listening_here:
                    return False
                self._waiting_for_room += 1
                self._has_room.wait()
                self._waiting_for_room -= 1
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
        self._load()
        call.conclude_cancelled()
        return True

    def _take_out(self, call: Call, *, even_if_running: bool) -> bool:
        schedule, member = self._schedule, call.member
        if call.is_queued:
            schedule.drop(call)
            return True
        if member is None:
            return False
        if member.reserved_for is call:
            # Who copies it will see that it was taken away.
            schedule.ended(call)
            return True
        taken = member.take_back()
        schedule.put_back(taken)
        if call.is_queued:
            schedule.drop(call)
            schedule.feed_idle()
            return True
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
        with self._lock:
            self._is_closing = True
            abandoned = self._schedule.drop_all() if cancel_queued else []
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
            with contextlib.suppress(IndexError):
                self._load_one(*self._schedule.to_load.popleft())

    def _load_one(self, member: Member, call: Call) -> None:
        try:
            segment, parts = self.arena.pack(call.parcel.pieces)
        except (OSError, ValueError, BufferError) as error:
            self._could_not_load(member, call, error)
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

    # The children's number

    def _want_children(self) -> None:
        """Have a child started, if there is work for it. One that is dying counts until it is buried."""
        members = self._schedule.members
        if len(members) + self._wanted >= self._size or self._broken is not None:
            return
        starting = self._wanted + sum(not member.is_ready for member in members.values())
        if starting < self._schedule.waiting:
            self._wanted += 1
            self._wake()

    def _wake(self) -> None:
        if self._listener is None and not self._is_closing:
            self._listener = Listener(self.tick)
            self._listener.start()
        elif self._listener is not None:
            self._listener.wake()

    def _end_for(self, call: Call, verdict: BaseException) -> None:
        """Kill the child that runs a call, which ends with this verdict."""
        member = call.member
        if member is not None and self._forker is not None:
            call.verdict = verdict
            member.is_killed = True
            self._schedule.forget(member)
            self._forker.kill(member)

    # The listening thread

    def tick(self, listener: Listener) -> float | None:
        """Do what is due; returns in how many seconds there may be more, None: not before somebody says so."""
        self._start_wanted(listener)
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return LOOK_EVERY_S
        self._looked_s = now_s
        with self._lock:
            for call, verdict in self._watch.verdicts(now_s):
                self._end_for(call, verdict)
            level_s = self._schedule.level(now_s)
            leave_s = self._let_leave(now_s)
            watch_s = self._watch.next_s(now_s)
            busy_s = STALLED_S if self._schedule.busy else None
        self._load()
        if self._is_closing:
            self._finish(listener)
        elif not self._is_forker_needed:
            self._stop_forker(listener)
        due_s = [level_s, leave_s, watch_s, busy_s, self.arena.trim()]
        return min((wait_s for wait_s in due_s if wait_s is not None), default=None)

    def _start_wanted(self, listener: Listener) -> None:
        if not self._wanted or (self._forker is not None and not self._is_forker_needed):
            return
        try:
            if self._forker is None:
                self._start_forker(listener)
            elif self._is_forker_ready:
                self._start_children(self._forker, listener)
        except OSError as error:
            self._break(error)

    def _start_forker(self, listener: Listener) -> None:
        # Not under the lock: it takes some milliseconds. No other thread ever does it.
        forker = Forker(self._recipe)
        self._is_forker_ready, self._is_forker_needed = False, True
        self._forker = forker
        listener.watch(forker, lambda: self._hear_forker(forker, listener))

    def _start_children(self, forker: Forker, listener: Listener) -> None:
        with self._lock:
            while self._wanted:
                member = Member()
                member.tasks_left = self._rules.recycle_after_tasks or member.tasks_left
                # Counted as wanted until it is counted as a member: else a caller would want one more meanwhile.
                self._schedule.members[member.number] = member
                self._wanted -= 1
                listener.watch(member.channel, partial(self._hear, member, listener))
                forker.fork(member)

    def _hear_forker(self, forker: Forker, listener: Listener) -> None:
        try:
            frames = forker.frames()
        except EOFError:
            self._lose_forker(forker, listener)
            return
        for frame in frames:
            self._take_from_forker(frame, listener)

    def _take_from_forker(self, frame: Frame, listener: Listener) -> None:
        match frame.kind:
            case Kind.READY:
                self._is_forker_ready = True
            case Kind.BROKEN:
                self._break(_reason(frame.body))
            case Kind.UNSAFE:
                self._go_without_preload(pickling.load(frame.body))
            case Kind.FORKED:
                number, pid = pickling.load(frame.body)
                self._schedule.members[number].pid = pid
            case Kind.DIED:
                number, code, reason = pickling.load(frame.body)
                self._bury(self._schedule.members[number], listener, code, reason or _how(code))

    def _go_without_preload(self, why: str) -> None:
        self._recipe = self._recipe.without_preload()
        self._deaths_at_start -= 1  # It leaves now, and that is no failure.
        logging.getLogger("treadle.pools").warning(
            "%s, so children that are forked after it would not be safe; they start without preload, more slowly. "
            "Move that out of the import, or take the module out of preload",
            why,
        )

    def _lose_forker(self, forker: Forker, listener: Listener) -> None:
        listener.unwatch(forker)
        forker.stop()
        members = list(self._schedule.members.values())
        # One death, however many children it was starting.
        self._deaths_at_start += not (self._is_forker_ready and all(m.is_ready or m.is_leaving for m in members))
        self._forker, self._is_forker_ready = None, False
        end_orphans(member.pid for member in members if member.pid)
        for member in members:
            self._bury(member, listener, None, "killed with the process that had forked it")
        self._check_deaths_at_start("killed")
        with self._lock:
            self._want_children()

    def _hear(self, member: Member, listener: Listener) -> None:
        try:
            frames = member.channel.receive_waiting()
        except EOFError:
            # How it ended, its zygote will tell.
            listener.unwatch(member.channel)
            return
        news: list[Any] = []
        with self._lock:
            for frame in frames:
                self._take(member, frame, news)
            self._keep_busy(member)
            if self._waiting_for_room:
                self._has_room.notify_all()
        self._load()
        # The children first: they must not wait for what a callback of a future does.
        for tell, *args in news:
            tell(*args)

    def _take(self, member: Member, frame: Frame, news: list[Any]) -> None:
        kind = frame.kind
        if kind in ENDS:
            self._take_end(member, frame, news)
        elif kind == Kind.STARTED:
            self._take_start(member, news)
        elif kind == Kind.REPORT:
            call = member.given[0]
            if call.on_progress is not None and not call.cancelled():
                news.append((_report, call.on_progress, frame.body))
        elif kind == Kind.FENCED:
            member.is_fenced = False
        elif kind == Kind.READY:
            self._deaths_at_start = 0
            member.is_ready = True
            member.last_news_s = time.monotonic()
        elif kind == Kind.BROKEN:
            news.append((self._break, _reason(frame.body)))

    def _take_end(self, member: Member, frame: Frame, news: list[Any]) -> None:
        call = member.given.popleft()
        member.last_news_s = time.monotonic()
        member.done_count += 1
        self._runs.add(frame.seconds)
        call.function.measure(frame.seconds)
        memory = self.arena.adopt(member.channel.fds.popleft()) if frame.flags & IN_SEGMENT else None
        self._let_go(call, is_held=bool(frame.flags & HOLDS_SEGMENT))
        news.append((_conclude, call, frame, memory))

    def _take_start(self, member: Member, news: list[Any]) -> None:
        call = member.given[0]
        if call.is_limited:
            self._watch.begin(call, member.pid)
        if call.on_started is not None:
            news.append((_safely, call.on_started))

    def _let_go(self, call: Call, *, is_held: bool) -> None:
        """A call has ended, however: nothing of it is kept here."""
        self._done_count += 1
        self._schedule.ended(call)
        if call.is_limited:
            self._watch.end(call)
        segment, call.segment, call.parcel = call.segment, None, NOTHING
        if segment is not None and not is_held:
            self.arena.give_back(segment)

    def _keep_busy(self, member: Member) -> None:
        """After its news: give it more, or have it replaced."""
        rss_limit_mb = self._rules.recycle_over_rss_mb
        if rss_limit_mb is not None and member.done_count and resident_mb(member.pid) > rss_limit_mb:
            member.tasks_left = 0
        if member.tasks_left <= 0 and not member.is_leaving:
            self._replace(member)
        if member.is_leaving and not member.is_busy:
            member.dismiss()
        elif len(member.given) <= member.refill_at:
            self._schedule.feed(member)

    def _replace(self, member: Member) -> None:
        """Have another child started before this one leaves."""
        member.is_leaving = True
        self._schedule.forget(member)
        if not self._is_closing:
            self._wanted += 1

    def _let_leave(self, now_s: float) -> float | None:
        """Have children leave that were idle for long, kill those that do not; returns when to look again."""
        idle_s = self._rules.idle_timeout_s
        while idle_s is not None and (member := self._schedule.longest_idle) and now_s - member.last_news_s >= idle_s:
            self._leave(member)
        leaving = [m for m in self._schedule.members.values() if m.dismissed_s is not None and not m.is_killed]
        for member in leaving:
            if now_s - (member.dismissed_s or 0) >= PATIENCE_S and self._forker is not None:
                member.is_killed = True
                self._forker.kill(member)
        if leaving:
            return PATIENCE_S
        longest = self._schedule.longest_idle
        return longest.last_news_s + idle_s - now_s if longest is not None and idle_s is not None else None

    def _leave(self, member: Member) -> None:
        member.is_leaving = True
        self._schedule.forget(member)
        member.dismiss()

    def _bury(self, member: Member, listener: Listener, code: int | None, how: str) -> None:
        """A child has died and was reaped: its last words, then for each of its calls an end or another child."""
        with self._lock:
            member.is_killed = True
            self._schedule.forget(member)
        self._hear(member, listener)
        listener.unwatch(member.channel)
        with self._lock:
            self._schedule.put_back(member.calls_not_started())
            failed = list(member.given)
            for call in failed:
                self._let_go(call, is_held=True)
            self._count_death(member)
            self._want_children()
            self._schedule.feed_idle()
        member.close()
        for call in failed:
            _fail(call, code, how)
        self._check_deaths_at_start(how)
        if self._broken is not None:
            # What came back has nobody to go to.
            self._break(self._broken)

    def _count_death(self, member: Member) -> None:
        del self._schedule.members[member.number]
        if self._forker is not None:
            self._deaths_at_start += not (member.is_ready or member.is_leaving)
        self._restarts += not member.is_leaving
        # The last one has left because there is nothing to do: nobody needs a zygote then.
        self._is_forker_needed = not member.is_leaving or bool(self._schedule.members or self._schedule.waiting)

    def _check_deaths_at_start(self, how: str) -> None:
        if self._deaths_at_start >= MAX_DEATHS_AT_START:
            self._break(WorkerCrashed(f"{MAX_DEATHS_AT_START} children died while starting, the last one {how}"))

    def _break(self, reason: BaseException) -> None:
        with self._lock:
            self._broken, self._wanted = reason, 0
            abandoned = self._schedule.drop_all()
            self._has_room.notify_all()
        for call in abandoned:
            error = PoolBroken(f"the children of this pool cannot be started: {reason}")
            error.__cause__ = reason
            call.set_exception(error)

    def _stop_forker(self, listener: Listener) -> None:
        forker, self._forker = self._forker, None
        if forker is not None:
            listener.unwatch(forker)
            forker.stop(at_once=not self._is_forker_ready)
        self._is_forker_ready = False

    def _finish(self, listener: Listener) -> None:
        """Once nothing waits or runs, let all children leave; when they have, end."""
        with self._lock:
            if self._schedule.waiting or self._schedule.busy:
                return
            self._wanted = 0
            for member in tuple(self._schedule.members.values()):
                if member.dismissed_s is None:
                    self._leave(member)
            if self._schedule.members:
                return
        self._stop_forker(listener)
        self.arena.close()
        listener.end()

    def close_inherited(self) -> None:
        """In a forked process: let go of what belongs to the parent, and begin anew."""
        self._schedule.abandon()
        if self._forker is not None:
            self._forker.abandon()
        if self._listener is not None:
            self._listener.abandon()
        is_closing = self._is_closing
        self._forget()
        self._is_closing = is_closing


def _conclude(call: Call, frame: Frame, memory: mmap.mmap | None) -> None:
    if call.cancelled():
        return
    try:
        value = pickling.load(frame.body)
        if memory is not None:
            value = pickling.load_from(memory, value)
    except BaseException as error:
        unreadable = Unpicklable(f"what the function gave cannot be unpickled here: {error!r}")
        unreadable.__cause__ = error
        call.set_exception(unreadable)
        return
    if frame.kind == Kind.RESULT:
        call.set_result(value)
    else:
        call.set_exception(value)


def _reason(body: bytes) -> BaseException:
    """Why a zygote or a child could not make itself ready."""
    try:
        return pickling.load(body)  # type: ignore[no-any-return]
    except BaseException as error:
        return Unpicklable(f"the error at its start cannot be unpickled here: {error!r}")


def _fail(call: Call, code: int | None, how: str) -> None:
    if not call.cancelled():
        call.set_exception(call.verdict or WorkerCrashed(f"the process that ran the call died: {how}", code))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _report(on_progress: Callable[[Any], None], body: bytes) -> None:
    _safely(lambda: on_progress(pickling.load(body)))


def _safely(callback: Callable[[], None]) -> None:
    """A callback that raises must not end the thread that all calls depend on."""
    try:
        callback()
    except Exception:
        logging.getLogger("treadle.pools").exception("a callback of a call raised")


_crews: "WeakSet[Crew]" = WeakSet()


def _forget_after_fork() -> None:
    for crew in _crews:
        crew.close_inherited()


os.register_at_fork(after_in_child=_forget_after_fork)
