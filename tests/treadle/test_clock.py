"""Time as the store keeps it."""

from datetime import UTC, datetime, timedelta, timezone

from treadle.clock import SystemClock, as_datetime, as_us


def test_a_stored_time_comes_back() -> None:
    """A datetime survives its way to microseconds and back, in UTC."""
    moment = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert as_datetime(as_us(moment)) == moment
    assert as_datetime(as_us(moment)).tzinfo is UTC


def test_a_naive_time_is_local() -> None:
    """A datetime without a zone is taken as local time, as Python does."""
    naive = datetime(2026, 1, 1, 12)
    assert as_us(naive) == as_us(naive.astimezone())


def test_the_system_clock_tells_the_time() -> None:
    """Wall clock in microseconds, and a monotonic clock that never goes back."""
    clock = SystemClock()
    before = datetime.now(UTC)
    assert before <= as_datetime(clock.now_us()) <= datetime.now(UTC)
    assert clock.monotonic_s() <= clock.monotonic_s()
