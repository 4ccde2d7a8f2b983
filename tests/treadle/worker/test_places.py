"""How many jobs each pool of a worker may hold."""

from concurrent.futures import Future

from treadle import ProcessPool, ThreadPool
from treadle.pools.contract import Pool
from treadle.pools.inline import InlinePool
from treadle.testing import ManualClock
from treadle.testing.store_contract import make_job
from treadle.worker.places import MOST_PREFETCHED, PREFETCH_S, Flight, Place, Rate


def place_with(pool: Pool, slots: int = 2) -> Place:
    place = Place("processes", slots, lambda: pool)
    assert place.pool is pool
    return place


def fill(place: Place, count: int) -> None:
    for _ in range(count):
        job = make_job()
        place.flights[job.claim] = Flight(job, 0, place.pool)


def test_a_rate_lets_a_second_of_claims_through() -> None:
    """At most, however long nothing was claimed."""
    clock = ManualClock()
    rate = Rate(10, clock)
    clock.advance(100)
    assert rate.allowance == 10
    rate.spend(10)
    assert rate.allowance == 0
    clock.advance(0.5)
    assert rate.allowance == 5


def test_a_rate_says_when_to_look_again() -> None:
    """Soon, where it is what holds jobs back."""
    rate = Rate(10, ManualClock())
    assert rate.refilled_in_s > 1000
    rate.spend(10)
    assert rate.refilled_in_s < 1


def test_without_a_rate_nothing_is_bounded() -> None:
    """A worker process takes what it can."""
    rate = Rate(None, ManualClock())
    rate.spend(10_000)
    assert rate.allowance > 10_000


def test_a_pool_is_made_when_it_is_needed() -> None:
    """A worker without jobs for it never starts one."""
    made: list[Pool] = []
    place = Place("threads", 1, lambda: made.append(ThreadPool(1)) or made[-1])
    assert made == []
    assert place.pool is place.pool
    assert len(made) == 1
    place.shutdown()


def test_free_places_are_those_that_are_not_taken() -> None:
    """Never less than none."""
    place = place_with(ThreadPool(2))
    fill(place, 1)
    assert (place.free, place.has_waiting) == (1, False)
    fill(place, 5)
    assert (place.free, place.has_waiting) == (0, False)


def test_a_job_of_several_cores_takes_as_many_places() -> None:
    """What could not start beside it must not be claimed as if it did."""
    place = place_with(ThreadPool(4), slots=4)
    wide = make_job(cores=3)
    place.flights[wide.claim] = Flight(wide, 0, place.pool)
    assert place.free == 1
    fill(place, 2)
    assert place.free == 0


def test_a_flight_knows_what_was_asked_of_it() -> None:
    """Beside its job, which the pool's thread replaces as it starts."""
    flight = Flight(make_job(started_at_us=1), 0, InlinePool())
    assert (flight.row, flight.is_prefetched, flight.has_started) == (flight.job, False, False)
    flight.cancel_requested_at_us = 7
    assert (flight.row.cancel_requested_at_us, flight.row.started_at_us) == (7, 1)


def test_short_jobs_are_prefetched() -> None:
    """In large steps, and only while they are short."""
    with ProcessPool(2) as pool:
        place = place_with(pool)
        assert place.prefetch == 0
        place.measure(0.0001)
        assert place.prefetch == 2 + MOST_PREFETCHED
        fill(place, MOST_PREFETCHED)
        assert (place.prefetch, place.has_waiting) == (0, True)
        place.measure(10)
        place.flights.clear()
        assert place.prefetch == 0


def test_so_much_is_prefetched_as_does_not_wait_for_long() -> None:
    """The longer jobs take, the fewer wait."""
    with ProcessPool(2) as pool:
        place = place_with(pool)
        place.measure(0.01)
        assert place.prefetch == 2 + round(2 * PREFETCH_S / 0.01)


def test_nothing_is_prefetched_where_a_crash_takes_all() -> None:
    """A thread's crash is the worker's, and would count for every job that waits there."""
    place = place_with(ThreadPool(2))
    place.measure(0.001)
    assert place.prefetch == 0


def test_what_was_given_back_is_not_prefetched_again() -> None:
    """Before a run has ended: else the worker that gives jobs back would take them at once, and no other could."""
    with ProcessPool(2) as pool:
        place = place_with(pool)
        place.measure(0.0001)
        fill(place, 1)
        (flight,) = place.flights.values()
        flight.future = Future()
        place.give_back(flight)
        assert (flight.future.cancelled(), place.prefetch) == (True, 0)
        place.measure(0.0001)
        assert place.prefetch > 0


def test_a_place_knows_who_waits_for_long() -> None:
    """Those that were handed over before a moment and have not started."""
    place = place_with(ThreadPool(2))
    early, late = make_job(), make_job()
    started = make_job(started_at_us=1)
    for job, at_s in ((early, 1), (late, 3), (started, 1)):
        place.flights[job.claim] = Flight(job, at_s, place.pool)
    assert [flight.job for flight in place.waiting_since(2)] == [early]


def test_a_slot_whose_run_is_set_aside_is_free() -> None:
    """Until it is taken back."""
    place = place_with(ThreadPool(2))
    fill(place, 2)
    flight = next(iter(place.flights.values()))
    flight.is_aside = True
    assert place.free == 1
    flight.is_aside = False
    assert place.free == 0


def test_a_replaced_pool_is_let_go_when_its_runs_have_ended() -> None:
    """There are only so many at a time."""
    place = Place("threads", 2, lambda: ThreadPool(2))
    first = place.pool
    fill(place, 1)
    assert place.replace(first, 1) is False
    assert place.replace(first, 2) is True
    second = place.pool
    assert (place.pools, place.replace(second, 2)) == ((first, second), False)
    place.drop_idle_pools()
    assert first in place.pools
    place.flights.clear()
    place.drop_idle_pools()
    assert place.pools == (second,)
    place.shutdown()
