"""Finds the runs in this process that go on for too long, tells where they are, and opens a slot beside each.

A thread cannot be ended. So a job in one that runs longer than the setting says is told of once, with its
stack, and another gets its slot; should it end after all, its end counts as any other's. A coroutine may
take as long as it likes while it awaits; but one that blocks the event loop holds up all others there, so
the next ones are given a loop of their own.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from treadle.clock import Clock
from treadle.events import Event, JobStuck
from treadle.pools.contract import Pool
from treadle.pools.coroutines import CoroutinePool
from treadle.pools.inline import InlinePool
from treadle.worker.places import Flight, Place
from treadle.worker.upkeep import Duty

LOOKS = 20
"""In the time after which a run is stuck."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 10.0
MOST_LOOPS = 8
"""Event loops that a worker has at most: one that blocks is seldom alone."""


class StuckWatch:
    """Looks at the runs of one worker, in the thread of its duties."""

    def __init__(
        self,
        places: Sequence[Place],
        after_s: float,
        clock: Clock,
        announce: Callable[[Event], None],
        worker_id: str,
    ) -> None:
        self._places = places
        self._after_s = after_s
        self._clock = clock
        self._announce = announce
        self._worker_id = worker_id
        self._questions: WeakKeyDictionary[Pool, _Question] = WeakKeyDictionary()

    def duty(self) -> Duty:
        pause_s = min(max(self._after_s / LOOKS, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        return Duty("watch for stuck runs", pause_s, self.look)

    def look(self) -> None:
        for place in self._places:
            for pool in place.pools:
                if isinstance(pool, CoroutinePool):
                    self._look_at_loop(place, pool)
                elif pool.in_process:
                    self._look_at_threads(place)
            place.drop_idle_pools()

    def _look_at_threads(self, place: Place) -> None:
        for flight in tuple(place.flights.values()):
            if flight.has_started and not flight.is_stuck and self._run_s(flight) >= self._after_s:
                # As many as there are slots, and no more: each holds a thread. The loop's own cannot be replaced.
                flight.is_aside = place.stuck < place.slots and not isinstance(flight.pool, InlinePool)
                self._tell(flight)

    def _look_at_loop(self, place: Place, pool: CoroutinePool) -> None:
        question = self._questions.get(pool)
        if question is None or question.is_answered:
            self._set_aside(place, pool, is_aside=False)
            self._ask(pool)
        elif self._clock.monotonic_s() - question.asked_s >= self._after_s:
            self._blocked(place, pool)

    def _ask(self, pool: CoroutinePool) -> None:
        question = self._questions[pool] = _Question(self._clock.monotonic_s())
        if not pool.ask(question.answer):
            question.answer()

    def _blocked(self, place: Place, pool: CoroutinePool) -> None:
        self._set_aside(place, pool, is_aside=place.replace(pool, MOST_LOOPS))
        culprit = pool.held_by
        for flight in _of(place, pool):
            if flight.future is culprit and not flight.is_stuck:
                self._tell(flight)

    def _set_aside(self, place: Place, pool: Pool, *, is_aside: bool) -> None:
        for flight in _of(place, pool):
            flight.is_aside = is_aside

    def _tell(self, flight: Flight) -> None:
        flight.is_stuck = True
        run_s = self._run_s(flight)
        self._announce(JobStuck(flight.job, self._worker_id, run_s, _stack_of(flight.thread_id), flight.is_aside))

    def _run_s(self, flight: Flight) -> float:
        return self._clock.monotonic_s() - flight.handed_over_s


class _Question:
    """Whether an event loop is free, asked at some moment."""

    def __init__(self, asked_s: float) -> None:
        self.asked_s = asked_s
        self.is_answered = False

    def answer(self) -> None:
        self.is_answered = True


def _of(place: Place, pool: Pool) -> list[Flight]:
    return [flight for flight in tuple(place.flights.values()) if flight.pool is pool]


def _stack_of(thread_id: int | None) -> str:
    frame = sys._current_frames().get(thread_id or 0)
    return "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "(its thread is gone)"
