"""How long to wait before the next attempt."""

from typing import Any

import pytest

from treadle.backoff import Backoff
from treadle.job import Job
from treadle.states import State


def job_on(attempt: int) -> Job:
    return Job(id="1", task="t", state=State.RUNNING, payload="", attempt=attempt)


def test_none_tries_again_at_once() -> None:
    """No wait."""
    assert Backoff.none()(ValueError(), job_on(3)) == 0


def test_constant_waits_the_same_time() -> None:
    """Whatever the attempt."""
    assert {Backoff.constant(7)(ValueError(), job_on(n)) for n in (1, 9)} == {7}


def test_exponential_doubles_up_to_its_bound() -> None:
    """The first wait, then `factor` times as long, at most `max_s`."""
    rule = Backoff.exponential(first_s=1, factor=2, max_s=5, jitter=0)
    assert [rule(ValueError(), job_on(n)) for n in (1, 2, 3, 4)] == [1, 2, 4, 5]


def test_exponential_does_not_overflow() -> None:
    """A job on its ten-thousandth attempt waits `max_s`."""
    assert Backoff.exponential(max_s=300, jitter=0)(ValueError(), job_on(10_000)) == 300


def test_jitter_spreads_the_waits() -> None:
    """Jobs that failed together do not return together, and none leaves the bounds."""
    rule = Backoff.exponential(first_s=10, jitter=0.1)
    waits = {rule(ValueError(), job_on(1)) for _ in range(100)}
    assert len(waits) > 1
    assert all(wait is not None and 9 <= wait <= 11 for wait in waits)


@pytest.mark.parametrize(
    "wrong", [{"first_s": -1}, {"factor": -2}, {"max_s": -1}, {"jitter": -0.1}], ids=lambda wrong: next(iter(wrong))
)
def test_negative_numbers_are_refused(wrong: dict[str, Any]) -> None:
    """The message names the argument."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must not be negative"):
        Backoff.exponential(**wrong)


def test_a_negative_constant_is_refused() -> None:
    """At decoration, not at the first error."""
    with pytest.raises(ValueError, match="after_s must not be negative, got -1"):
        Backoff.constant(-1)
