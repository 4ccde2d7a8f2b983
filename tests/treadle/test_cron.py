"""The times of cron texts, in zones whose clocks are changed."""

from datetime import datetime
from itertools import pairwise

import pytest

from treadle.clock import US_PER_S, as_us
from treadle.cron import Cron
from treadle.errors import InvalidSchedule

BERLIN = "Europe/Berlin"
DAY_US = 86_400 * US_PER_S


def us(text: str) -> int:
    """A time given with its offset."""
    return as_us(datetime.fromisoformat(text))


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next times, as the clocks of the zone show them."""
    made, moment_us, found = Cron(cron, zone), us(after), []
    for _ in range(count):
        moment_us = made.next_us(moment_us)
        found.append(made.local(moment_us).isoformat())
    return found


def test_the_times_are_those_of_the_zone() -> None:
    """Three in the morning in Tokyo is six in the evening in Greenwich."""
    assert times("0 3 * * *", "Asia/Tokyo", "2026-01-01T00:00+00:00", 1) == ["2026-01-02T03:00:00+09:00"]


def test_what_comes_in_the_hour_that_is_left_out_comes_at_its_end() -> None:
    """In the night of 29 March 2026 Berlin's clocks go from two to three."""
    found = times("30 2 * * *", BERLIN, "2026-03-28T12:00+01:00", 2)
    assert found == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


def test_what_comes_in_the_hour_that_is_there_twice_comes_once() -> None:
    """In the night of 25 October 2026 Berlin's clocks go from three back to two: it comes in the first of the hours."""
    found = times("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00", 2)
    assert found == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_in_the_second_of_two_equal_hours_the_first_is_over() -> None:
    """Who asks at a quarter past two for the second time is not told of half past two for the first time."""
    assert times("30 2 * * *", BERLIN, "2026-10-25T02:15+01:00", 1) == ["2026-10-26T02:30:00+01:00"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize(("cron", "every_s"), [("*/30 * * * *", 1800), ("0 * * * *", 3600), ("0 */20 * * * *", 1200)])
def test_what_comes_every_few_minutes_follows_the_time_that_passes(day: str, cron: str, every_s: int) -> None:
    """Neither change of the clocks makes it come sooner or later."""
    made, moment_us = Cron(cron, BERLIN), us(f"{day}T00:00+00:00") - DAY_US // 4
    found = [moment_us := made.next_us(moment_us) for _ in range(24)]
    assert {(b - a) // US_PER_S for a, b in pairwise(found)} == {every_s}


def test_a_time_is_never_the_next_of_itself() -> None:
    """The next one is later by a microsecond at least."""
    made = Cron("0 3 * * *", "UTC")
    three_us = us("2026-01-02T03:00+00:00")
    assert made.next_us(three_us - 1) == three_us
    assert made.next_us(three_us) == three_us + DAY_US


@pytest.mark.parametrize("night", ["2026-03-29T00:00+01:00", "2026-10-25T00:00+02:00"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "15,45 1-3 * * *", "*/20 2 * * *", "0 0 * * *"])
def test_the_times_are_the_same_from_wherever_one_looks(night: str, cron: str) -> None:
    """What comes next does not depend on what came before: workers that look at different moments agree."""
    made, start_us = Cron(cron, BERLIN), us(night)
    minutes = [start_us + minute * 60 * US_PER_S for minute in range(8 * 60)]
    in_turn = [start_us]
    while in_turn[-1] < minutes[-1]:
        in_turn.append(made.next_us(in_turn[-1]))
    for minute_us in minutes:
        assert made.next_us(minute_us) == min(moment_us for moment_us in in_turn[1:] if moment_us > minute_us)


@pytest.mark.parametrize(
    ("after", "newest"),
    [
        ("2026-01-01T02:00+00:00", "2026-06-01T03:00+00:00"),
        ("2026-06-01T02:59+00:00", "2026-06-01T03:00+00:00"),
    ],
)
def test_the_newest_time_is_found_however_many_there_were(after: str, newest: str) -> None:
    """Also the only one, and one of this very moment."""
    for until in ("2026-06-01T03:00+00:00", "2026-06-02T02:59+00:00"):
        assert Cron("0 3 * * *", "UTC").newest_us(us(after), us(until)) == us(newest)


def test_the_newest_of_millions_is_found() -> None:
    """Of each second of ten years."""
    until_us = us("2026-01-01T00:00:07+00:00") + 5
    assert Cron("* * * * * *", "UTC").newest_us(us("2016-01-01T00:00+00:00"), until_us) == until_us - 5


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("61 * * * *", r"cron text '61 \* \* \* \*': '61' is no minute"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 * * FRO", "'FRO' is no day-of-week"),
        ("0 0 * 13 *", "'13' is no month"),
        ("61 0 0 * * *", "'61' is no second"),
        ("0 0 30 2 *", "'30' is no day-of-month"),
        ("* * */20 * 1L", "is never due"),
        ("@daily", "'@daily': five fields are needed, minute hour"),
        ("", "five fields are needed"),
        (5, "a cron text is a text as '0 3 ... .', got 5"),
    ],
)
def test_a_text_without_times_is_refused(cron: str, told: str) -> None:
    """The message names the field that is wrong, and what it says."""
    with pytest.raises(InvalidSchedule, match=told):
        Cron(cron, "UTC")


@pytest.mark.parametrize("zone", ["Europe/Berln", "Europe", "../secret", "", None])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """With the name, and how one looks."""
    with pytest.raises(InvalidSchedule, match=r"unknown time zone .*; use a name as 'Europe/Berlin'"):
        Cron("0 3 * * *", zone)


def test_a_near_zone_is_suggested() -> None:
    """A slip of the keyboard is the usual reason."""
    with pytest.raises(InvalidSchedule, match="'Europe/Berln', did you mean 'Europe/Berlin'"):
        Cron("0 3 * * *", "Europe/Berln")


def test_spaces_do_not_matter() -> None:
    """Else a schedule would begin anew for one."""
    assert Cron(" 0  3 * * * ", "UTC").text == "0 3 * * *"
