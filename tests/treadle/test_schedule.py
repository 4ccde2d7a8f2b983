"""Schedules as they are declared, and what of them is due."""

from datetime import datetime
from typing import Any

import pytest
from tests import apps

from treadle.clock import US_PER_S, as_datetime, as_us
from treadle.errors import InvalidSchedule
from treadle.schedule import GRACE_S, Schedules, Tick, make_schedule

THREE_US = as_us(datetime.fromisoformat("2026-01-02T03:00+00:00"))
DAY_US = 86_400 * US_PER_S
MINUTE_US = 60 * US_PER_S


def schedule(cron: str = "0 3 * * *", **options: Any) -> Any:
    return make_schedule(cron, apps.string_length.bind("abc"), **options)


# What is due


def test_nothing_is_due_before_its_time() -> None:
    """Nor again once it was seen to."""
    assert schedule().due(THREE_US - DAY_US, THREE_US - 1) is None
    assert schedule().due(THREE_US, THREE_US + DAY_US - 1) is None


@pytest.mark.parametrize("catch_up", ["once", "skip"])
def test_a_tick_is_due_when_its_time_has_come(catch_up: str) -> None:
    """And for a minute longer, in which a worker is replaced."""
    for late_us in (0, GRACE_S * US_PER_S - 1):
        assert schedule(catch_up=catch_up).due(THREE_US - DAY_US, THREE_US + late_us) == Tick(THREE_US)


@pytest.mark.parametrize("catch_up", ["once", "skip"])
def test_ticks_that_are_not_missed_come_one_by_one(catch_up: str) -> None:
    """A look that is late by some seconds leaves none of them out."""
    each_second = schedule("* * * * * *", catch_up=catch_up)
    assert each_second.due(THREE_US, THREE_US + 3 * US_PER_S) == Tick(THREE_US + US_PER_S)


def test_missed_ticks_are_caught_up_with_once() -> None:
    """Those of a week give one job, for the newest of them; then all is seen to."""
    now_us = THREE_US + 7 * DAY_US + MINUTE_US
    assert schedule().due(THREE_US, now_us) == Tick(THREE_US + 7 * DAY_US)
    assert schedule().due(THREE_US + 7 * DAY_US, now_us) is None


def test_missed_ticks_are_skipped_where_that_is_wanted() -> None:
    """They are seen to without a job; the next one comes in its time."""
    skipping, now_us = schedule(catch_up="skip"), THREE_US + 7 * DAY_US + MINUTE_US
    assert skipping.due(THREE_US, now_us) == Tick(THREE_US + 7 * DAY_US, is_skipped=True)
    assert skipping.due(THREE_US + 7 * DAY_US, now_us) is None


def test_after_skipped_ticks_one_that_was_not_missed_comes() -> None:
    """Of each minute of an hour all but the last are skipped."""
    skipping, now_us = schedule("* * * * *", catch_up="skip"), THREE_US + 60 * MINUTE_US + 5
    skipped = skipping.due(THREE_US, now_us)
    assert skipped == Tick(THREE_US + 59 * MINUTE_US, is_skipped=True)
    assert skipping.due(skipped.at_us, now_us) == Tick(THREE_US + 60 * MINUTE_US)


def test_a_clock_that_went_back_makes_nothing_due() -> None:
    """What was seen to lies ahead then."""
    assert schedule("* * * * *").due(THREE_US, THREE_US - DAY_US) is None


# Declaring


def test_a_schedule_is_named_by_its_task_and_its_text() -> None:
    """Unless it is given a name."""
    assert schedule("0  3 * * *").name == "tests.apps.string_length 0 3 * * *"
    assert schedule(name="nightly").name == "nightly"


def test_a_task_without_arguments_needs_no_bind() -> None:
    """It is called as it is; one that needs arguments is refused at once."""
    assert make_schedule("0 3 * * *", apps.by_name).call.args == ()
    with pytest.raises(TypeError, match="string_length"):
        make_schedule("0 3 * * *", apps.string_length)  # type: ignore[arg-type]


def test_a_call_that_was_made_already_is_refused() -> None:
    """The message says what is needed."""
    with pytest.raises(InvalidSchedule, match=r"made by task\.bind\(…\), or a task; got 3"):
        make_schedule("0 3 * * *", apps.string_length("abc"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"catch_up": "all"}, "catch_up is 'once' or 'skip', got 'all'"),
        ({"name": ""}, "a printable text, got ''"),
        ({"name": "two\nlines"}, "printable"),
        ({"name": 7}, "got 7"),
        ({"timezone": "Mars"}, "unknown time zone 'Mars'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], told: str) -> None:
    """At declaration, with its value."""
    with pytest.raises(InvalidSchedule, match=told):
        schedule(**options)


def test_two_schedules_cannot_have_one_name() -> None:
    """Else one of them would never be sent."""
    schedules = Schedules()
    schedules.add(schedule())
    with pytest.raises(InvalidSchedule, match=r"two schedules are named 'tests\.apps\.string_length 0 3 \* \* \*'"):
        schedules.add(make_schedule("0 3 * * *", apps.string_length.bind("other")))


def test_calls_that_differ_in_their_options_need_names_of_their_own() -> None:
    """Else the second would be taken for the first, and its queue get nothing."""
    schedules = Schedules()
    schedules.add(make_schedule("0 3 * * *", apps.string_length.bind("abc")))
    with pytest.raises(InvalidSchedule, match="two schedules are named"):
        schedules.add(make_schedule("0 3 * * *", apps.string_length.options(queue="mail").bind("abc")))


def test_a_schedule_may_be_declared_twice() -> None:
    """A module may be imported twice, and an application made twice."""
    schedules = Schedules()
    assert schedules.add(schedule()) is schedules.add(schedule())
    assert len(schedules) == 1


def test_a_schedule_tells_its_next_time() -> None:
    """As the clocks of its zone show it."""
    tokyo = schedule(timezone="Asia/Tokyo")
    assert tokyo.next_time(as_datetime(THREE_US)).isoformat() == "2026-01-03T03:00:00+09:00"
    assert repr(tokyo) == "<Schedule tests.apps.string_length 0 3 * * *: 0 3 * * * Asia/Tokyo>"
