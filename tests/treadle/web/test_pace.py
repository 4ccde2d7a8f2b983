"""When a client is asked to come again."""

import pytest

from treadle.testing import ManualClock
from treadle.web.pace import BUSY_PER_S, JITTER, LONGEST_S, Pace, retry_after


@pytest.mark.parametrize(("age_s", "after_s"), [(0, 0.5), (9, 0.5), (10, 1), (59, 1), (60, 2), (600, 5), (10**6, 5)])
def test_who_waits_for_a_young_job_comes_sooner(age_s, after_s):
    """0.5 s at first, 5 s in the end, each 20 % earlier or later."""
    found = [Pace(ManualClock()).after_s(age_s) for _ in range(50)]
    assert (1 - JITTER) * after_s <= min(found) < max(found) <= (1 + JITTER) * after_s


def test_a_busy_process_asks_its_followers_to_come_less_often():
    """In proportion to how many it has answered in the last second, and never later than in half a minute or so."""
    pace = Pace(ManualClock())
    for _ in range(BUSY_PER_S * 10):
        pace.after_s(0)
    assert 0.5 * 10 * (1 - JITTER) <= pace.after_s(0) <= 0.5 * 11 * (1 + JITTER)
    for _ in range(BUSY_PER_S * 1000):
        pace.after_s(0)
    assert pace.after_s(0) <= LONGEST_S * (1 + JITTER)


def test_it_is_forgotten_that_it_was_busy():
    """After two seconds without anybody."""
    clock = ManualClock()
    pace = Pace(clock)
    for _ in range(BUSY_PER_S * 10):
        pace.after_s(0)
    clock.advance(1)
    assert pace.after_s(0) > 0.5 * 9 * (1 - JITTER)
    clock.advance(2)
    assert pace.after_s(0) <= 0.5 * (1 + JITTER)


def test_retry_after_is_in_whole_seconds_and_never_none():
    """As HTTP has it; 0 would be a storm."""
    assert [retry_after(age_s) for age_s in (0, 30, 100, 1000)] == ["1", "1", "2", "5"]
