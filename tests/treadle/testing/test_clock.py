"""The clock that a test moves."""

from datetime import UTC, datetime

import pytest

from treadle.clock import as_datetime
from treadle.testing import ManualClock


def test_it_stands_still_until_it_is_moved() -> None:
    """Wall clock and monotonic clock move together."""
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    assert (clock.now_us(), clock.monotonic_s()) == (clock.now_us(), 0)
    clock.advance(1.5)
    assert as_datetime(clock.now_us()) == datetime(2026, 5, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert clock.monotonic_s() == 1.5


def test_it_does_not_go_back() -> None:
    """A negative time is a mistake of the test."""
    with pytest.raises(ValueError, match="a clock does not go back: -1 s"):
        ManualClock().advance(-1)
