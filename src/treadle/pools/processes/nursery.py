"""The lives of the children: how they begin, leave and end. Used by the crew, which knows their calls.

    wanted ──► zygote ── fork ──► member: starting ──READY──► serves ──► leaving ──► buried
                                                                 └── killed, crashed ──┘

A child leaves when it has been idle for long, when it is to be replaced (its successor is started first), or when the
pool ends; the zygote leaves when the last child has left because there is nothing to do. Only the listener's thread
starts and buries; the crew's lock is held around every change of who is there.
"""

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from treadle.errors import WorkerCrashed
from treadle.pools.processes import pickling
from treadle.pools.processes.channel import Frame, Kind
from treadle.pools.processes.forker import Forker, end_orphans
from treadle.pools.processes.launch import Recipe
from treadle.pools.processes.limits import is_over
from treadle.pools.processes.listener import Listener
from treadle.pools.processes.member import Member
from treadle.pools.processes.schedule import Schedule

MAX_DEATHS_AT_START = 3
PATIENCE_S = 2.0
"""How long a child may take to leave before it is killed."""


class Rules(NamedTuple):
    """How children are kept."""

    recycle_after_tasks: int | None = None
    recycle_over_rss_mb: float | None = None
    idle_timeout_s: float | None = 60.0


class Crewing(NamedTuple):
    """What the crew does as children come and go."""

    hear: Callable[[Member], bool]
    """A child has said something, or its socket has ended; returns whether it said anything."""
    settle: Callable[[Member, int | None, str], None]
    """A child is dead, and all it said was heard: see to its calls. With its exit code and how it died."""
    give_up: Callable[[BaseException], None]
    """No child can be started, for this reason."""
    wake: Callable[[], None]
    """Have `tick` called soon."""


class Nursery:
    """The children of one crew, and the zygote that forks them."""

    def __init__(self, recipe: Recipe, rules: Rules, schedule: Schedule, lock: threading.RLock, crew: Crewing) -> None:
        self.restarts = 0
        self.deaths_at_start = 0
        self._recipe = recipe
        self._rules = rules
        self._schedule = schedule
        self._lock = lock
        self._crew = crew
        self._forker: Forker | None = None
        self._is_forker_ready = False
        self._is_forker_needed = True
        self._wanted = 0
        self._starts_no_more = False

    # For any thread that holds the lock

    def want(self) -> None:
        """Have a child started, if there is work for it. One that is dying counts until it is buried."""
        members, schedule = self._schedule.members, self._schedule
        if self._starts_no_more or len(members) + self._wanted >= schedule.size:
            return
        starting = self._wanted + sum(not member.is_ready for member in members.values())
        if starting < schedule.waiting:
            self._wanted += 1
            try:
                self._crew.wake()
            except RuntimeError:
                self._wanted -= 1
                raise

    def kill(self, member: Member) -> None:
        member.is_killed = True
        self._schedule.forget(member)
        # Where the zygote is gone, its children are, too.
        if self._forker is not None:
            self._forker.kill(member)

    def look_after(self, member: Member) -> None:
        """It has said something: see whether it must be replaced, or may leave now."""
        limit_mb = self._rules.recycle_over_rss_mb
        if limit_mb is not None and member.done_count and is_over(member.pid, limit_mb):
            member.tasks_left = 0
        if member.tasks_left <= 0 and not member.is_leaving:
            # Its successor is started before it leaves.
            self._wanted += not self._starts_no_more
            self._retire(member)
        if member.is_leaving and not member.is_busy:
            member.dismiss()

    def let_leave(self, now_s: float) -> float | None:
        """Have children leave that were idle for long, kill those that do not; returns when to look again."""
        idle_s = self._rules.idle_timeout_s
        while idle_s is not None and (member := self._schedule.longest_idle) and now_s - member.last_news_s >= idle_s:
            self._leave(member)
        leaving = [m for m in self._schedule.members.values() if m.dismissed_s is not None and not m.is_killed]
        for member in leaving:
            if now_s - (member.dismissed_s or 0) >= PATIENCE_S:
                self.kill(member)
        if leaving:
            return PATIENCE_S
        longest = self._schedule.longest_idle
        return longest.last_news_s + idle_s - now_s if longest is not None and idle_s is not None else None

    def start_no_more(self) -> None:
        self._starts_no_more = True
        self._wanted = 0

    def send_home(self) -> bool:
        """Let all children leave, none of which is busy; returns whether they have left."""
        self._wanted = 0
        for member in tuple(self._schedule.members.values()):
            if member.dismissed_s is None:
                self._leave(member)
        return not self._schedule.members

    def _leave(self, member: Member) -> None:
        self._retire(member)
        member.dismiss()

    def _retire(self, member: Member) -> None:
        member.is_leaving = True
        self._schedule.forget(member)

    # For the listener's thread, without the lock

    def tick(self, listener: Listener) -> None:
        """Start what is wanted, and end the zygote when nobody needs it."""
        if not self._is_forker_needed:
            self.close(listener)
        if not self._wanted:
            return
        try:
            if self._forker is None:
                self._start_forker(listener)
            elif self._is_forker_ready:
                self._start_children(self._forker, listener)
        except OSError as error:
            self._crew.give_up(error)

    def _start_forker(self, listener: Listener) -> None:
        # Not under the lock: it takes some milliseconds.
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
                listener.watch(member.channel, partial(self._crew.hear, member))
                forker.fork(member)

    def _hear_forker(self, forker: Forker, listener: Listener) -> None:
        try:
            frames = forker.frames()
        except EOFError:
            self._lose_forker(forker, listener)
            return
        for frame in frames:
            self._take(frame, listener)

    def _take(self, frame: Frame, listener: Listener) -> None:
        kind, _, _, body = frame
        match kind:
            case Kind.READY:
                self._is_forker_ready = True
            case Kind.BROKEN:
                self._crew.give_up(pickling.load_reason(body))
            case Kind.UNSAFE:
                self._go_without_preload(pickling.load(body))
            case Kind.FORKED:
                number, pid = pickling.load(body)
                self._schedule.members[number].pid = pid
            case Kind.DIED:
                number, code, reason = pickling.load(body)
                self._bury(self._schedule.members[number], listener, code, reason or _how(code))

    def _go_without_preload(self, why: str) -> None:
        self._recipe = self._recipe.without_preload()
        self.deaths_at_start -= 1  # It leaves now, and that is no failure.
        logging.getLogger("treadle.pools").warning(
            "%s, so children that are forked after it would not be safe; they start without preload, more slowly. "
            "Move that out of the import, or take the module out of preload",
            why,
        )

    def _lose_forker(self, forker: Forker, listener: Listener) -> None:
        """The zygote has died, and its children with it."""
        listener.unwatch(forker)
        forker.stop()
        members = list(self._schedule.members.values())
        # One death, however many children it was starting.
        is_at_start = not (self._is_forker_ready and all(m.is_ready or m.is_leaving for m in members))
        self.deaths_at_start += is_at_start
        self._forker, self._is_forker_ready = None, False
        end_orphans(member.pid for member in members if member.pid)
        for member in members:
            self._bury(member, listener, None, "killed with the process that had forked it")
        self._check_deaths_at_start("killed")
        with self._lock:
            self.want()

    def _bury(self, member: Member, listener: Listener, code: int | None, how: str) -> None:
        """A child has died and was reaped: its last words, then its calls, then who is to follow it."""
        with self._lock:
            member.is_killed = True
            self._schedule.forget(member)
        while self._crew.hear(member):
            pass
        listener.unwatch(member.channel)
        with self._lock:
            del self._schedule.members[member.number]
            self._count_death(member)
        self._crew.settle(member, code, how)
        member.close()
        self._check_deaths_at_start(how)

    def _count_death(self, member: Member) -> None:
        if self._forker is not None:
            self.deaths_at_start += not (member.is_ready or member.is_leaving)
        self.restarts += not member.is_leaving
        # The last one has left because there is nothing to do: nobody needs a zygote then.
        is_last = not (self._schedule.members or self._schedule.waiting or self._wanted)
        self._is_forker_needed = not (member.is_leaving and is_last)

    def _check_deaths_at_start(self, how: str) -> None:
        if self.deaths_at_start >= MAX_DEATHS_AT_START:
            reason = f"{MAX_DEATHS_AT_START} children died while starting, the last one {how}"
            self._crew.give_up(WorkerCrashed(reason))

    def close(self, listener: Listener | None) -> None:
        """End the zygote; its children, if there are any, die with it."""
        forker, self._forker = self._forker, None
        if forker is not None:
            if listener is not None:
                listener.unwatch(forker)
            forker.stop(at_once=not self._is_forker_ready or listener is None)
        self._is_forker_ready, self._is_forker_needed = False, True

    def abandon(self) -> None:
        """In a forked process: all of it is the parent's."""
        self._schedule.abandon()
        if self._forker is not None:
            self._forker.abandon()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
