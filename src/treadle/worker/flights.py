"""What one worker has in its pools: starts it there, ends it there, and hears what becomes of it.

The loop and the duties call from their threads, the pools call back from theirs. Whoever takes a flight out of its
place's table tells the committer of its end, so each end is told once.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any

import msgspec

from treadle.clock import Clock
from treadle.errors import MemoryLimitExceeded, PoolBroken, PoolError, TaskTimeout, WorkerCrashed
from treadle.events import Event, JobStarted, StuckJobEnded
from treadle.job import Claim, Job, Outcome
from treadle.pools.contract import Pool
from treadle.states import State
from treadle.worker import execution
from treadle.worker.committer import Committer
from treadle.worker.execution import CANCELLED_ERROR, Runner, Work, failure_of, run_packed
from treadle.worker.places import Flight, Place


class Flights:
    """The flights of a worker, in whatever place."""

    def __init__(
        self,
        worker_id: str,
        places: Mapping[str, Place],
        runner: Runner,
        committer: Committer,
        clock: Clock,
        announce: Callable[[Event], None],
        *,
        wake: Callable[[], None],
        on_broken: Callable[[BaseException], None],
    ) -> None:
        """`wake` ends the loop's wait; `on_broken` is told of a pool that can start no child process."""
        self._worker_id = worker_id
        self._places = places
        self._runner = runner
        self._committer = committer
        self._clock = clock
        self._announce = announce
        self._wake = wake
        self._on_broken = on_broken
        self._telling = threading.Lock()

    # Looking

    def __len__(self) -> int:
        return sum(len(place.flights) for place in self._places.values())

    def __iter__(self) -> Iterator[tuple[Place, Flight]]:
        for place in self._places.values():
            for flight in tuple(place.flights.values()):
                yield place, flight

    @property
    def claims(self) -> set[Claim]:
        """Those of all flights; what is not among them has ended, and the committer knows."""
        with self._telling:
            return {claim for place in self._places.values() for claim in tuple(place.flights)}

    @property
    def any_in_process(self) -> bool:
        """Whether something runs in this process, which cannot be killed."""
        return any(flight.pool.in_process for _, flight in self)

    # Starting

    def start(self, work: Work) -> None:
        job = work.job
        place = self._places[job.pool]
        flight = Flight(job, self._clock.monotonic_s(), place.pool)
        place.flights[job.claim] = flight
        flight.future = future = self._call(flight, work)
        future.add_done_callback(lambda future: self._on_done(place, flight, future))

    def _call(self, flight: Flight, work: Work) -> "Future[Any]":
        function, argument = self._run_of(flight.pool, work)
        try:
            return flight.pool.call(
                function,
                (argument,),
                timeout_s=work.job.timeout_s,
                memory_mb=work.job.memory_mb,
                cores=work.job.cores,
                on_started=lambda: self._on_started(flight),
                on_progress=lambda value: self._on_report(flight, value),
            )
        except (PoolBroken, RuntimeError) as error:
            refused: Future[Any] = Future()
            refused.set_exception(error)
        except ValueError as error:
            # A limit that the pool cannot keep, as more cores than there are slots: it would not next time, either.
            refused = Future()
            refused.set_result(Outcome.unfit(failure_of(error)))
        return refused

    def _run_of(self, pool: Pool, work: Work) -> tuple[Callable[[Any], Any], Any]:
        if not pool.in_process:
            return run_packed, work.packed()
        return (self._runner.arun if work.job.pool == "coroutines" else self._runner.run), work

    # Ending

    def give_back(self, after_s: float) -> None:
        """Return the prefetched jobs that have waited so long, and that no child will have soon."""
        before_s = self._clock.monotonic_s() - after_s
        for place in self._places.values():
            for flight in place.waiting_since(before_s):
                place.give_back(flight)

    def cancel(self, claim: Claim) -> None:
        """End the run of a claim, if it flies: somebody has asked for it."""
        for place in self._places.values():
            flight = place.flights.get(claim)
            if flight is not None:
                self._cancel(place, flight)

    def cancel_void(self, look: Callable[[list[str]], Mapping[str, Job]]) -> None:
        """End the runs that are no longer ours, as the rows say: their results are refused, and new runs may begin."""
        flights = list(self)  # Those that start meanwhile have no row here.
        rows = look([flight.job.id for _, flight in flights])
        for place, flight in flights:
            row = rows.get(flight.job.id)
            if row is None or row.state is not State.RUNNING or row.claim != flight.job.claim:
                self._cancel(place, flight)

    def _cancel(self, place: Place, flight: Flight) -> None:
        flight.cancel_requested_at_us = flight.cancel_requested_at_us or self._clock.now_us()
        claim = flight.job.claim
        if flight.pool.in_process:
            execution.cancelled_here.add(claim)
            if claim not in place.flights:
                execution.cancelled_here.discard(claim)
        if flight.future is None or flight.is_killed or flight.pool.cancel_waiting(flight.future):
            return
        # Before the kill, whose end is told while it goes on: it runs, though its start may not be told yet.
        flight.is_killed = True
        # Once: a coroutine that cleans up must not be cancelled again. A thread is asked each time, in vain.
        flight.is_killed = flight.pool.kill(flight.future)

    def interrupt(self) -> None:
        """End what still runs, with its attempt refunded, and the pools."""
        for place, flight in self:
            # Whoever takes the flight out of the table tells of its end.
            if place.flights.pop(flight.job.claim, None) is None or flight.future is None:
                continue
            if _has_not_begun(flight, flight.future):
                self._committer.add_release(flight.row)
                continue
            # A thread cannot be killed: it ends with this process, which is ending now.
            flight.pool.kill(flight.future)
            self._committer.add_ending(flight.row, Outcome.interrupted())
        # Only when the old runs are over may the store offer their jobs again; a killed future is done a little before
        # its process is.
        for place in self._places.values():
            place.shutdown()

    def kill(self) -> None:
        """Kill what runs, and tell nobody."""
        for _, flight in self:
            if flight.future is not None:
                flight.pool.kill(flight.future)

    # Called by the pools, in their threads

    def _on_started(self, flight: Flight) -> None:
        if flight.has_started:
            return
        flight.thread_id = threading.get_ident()
        flight.handed_over_s = self._clock.monotonic_s()
        flight.has_started = True
        # A claim stamps the start of as many jobs as there are free slots, but one that takes up several may
        # have to wait for them: until this correction its row says that it runs, and a worker that died then
        # would have it count a crash that it did not suffer.
        if flight.is_prefetched or (flight.job.cores or 1) > 1:
            flight.job = msgspec.structs.replace(flight.job, started_at_us=self._clock.now_us())
            self._committer.add_started(flight.job, flight.job.started_at_us or 0)
        self._announce(JobStarted(flight.job, self._worker_id))

    def _on_report(self, flight: Flight, value: Any) -> None:
        self._committer.add_report(flight.job, value)
        self._wake()

    def _on_done(self, place: Place, flight: Flight, future: "Future[Any]") -> None:
        if flight.job.claim in place.flights:
            self._hand_over(place, flight, future)
        # Only now: until it is out of the table somebody may still put it here.
        execution.cancelled_here.discard(flight.job.claim)

    def _hand_over(self, place: Place, flight: Flight, future: "Future[Any]") -> None:
        was_released = future.cancelled() and not (flight.has_started or flight.is_killed)
        outcome = None if was_released else self._outcome_of(flight.row, future)
        # At each moment a run is in the table, or the committer knows of its end.
        with self._telling:
            if place.flights.pop(flight.job.claim, None) is None:
                return  # It was interrupted, and nobody waits for its end.
            is_first = self._tell(flight, outcome)
        flown_s = self._clock.monotonic_s() - flight.handed_over_s
        if flight.is_stuck:
            self._announce(StuckJobEnded(flight.job, self._worker_id, flown_s))
        if outcome is not None:
            place.measure(flown_s)
        if is_first or not place.has_waiting:
            # The loop knows of the batch otherwise, and will write it in time.
            self._wake()

    def _tell(self, flight: Flight, outcome: Outcome | None) -> bool:
        if outcome is None:
            return self._committer.add_release(flight.row)
        return self._committer.add_ending(flight.row, outcome)

    def _outcome_of(self, job: Job, future: "Future[Any]") -> Outcome:
        is_wanted = job.cancel_requested_at_us is None
        error = CancelledError() if future.cancelled() else future.exception()
        match error:
            case None:
                answer = future.result()
                outcome = answer if isinstance(answer, Outcome) else Outcome.unpacked(answer)
                return outcome if is_wanted or not _was_ended(outcome) else Outcome.cancelled()
            case PoolBroken():
                self._on_broken(error)
                return Outcome.interrupted()
            case CancelledError():
                return Outcome.interrupted() if is_wanted else Outcome.cancelled()
            case TaskTimeout() | MemoryLimitExceeded():
                return self._runner.outcome_of_limit(job, error)
            case WorkerCrashed():
                return Outcome.crashed(failure_of(error))
            case BrokenExecutor() if not isinstance(error, PoolError):
                # An executor of the user's, whose process has died under this run, or under another beside it.
                return Outcome.crashed(failure_of(error))
            case _:
                return Outcome.raised(failure_of(error), None)


def _has_not_begun(flight: Flight, future: "Future[Any]") -> bool:
    """Whether it is certain that the function has not run, nor will."""
    if flight.has_started:
        return False
    if flight.job.max_crashes == 0 and not flight.is_prefetched:
        # A pool may tell of a start a moment late. Who may run once at most does not run on a guess.
        return False
    return flight.pool.cancel_waiting(future)


def _was_ended(outcome: Outcome) -> bool:
    """Whether a function was ended from outside, in the worker's own process."""
    return outcome.failure is not None and outcome.failure.error_class == CANCELLED_ERROR
