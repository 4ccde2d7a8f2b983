"""How long to wait before the next attempt: pure functions `(error, job) -> seconds`."""

import random
from collections.abc import Callable
from typing import Any

BackoffRule = Callable[[BaseException, Any], float | None]
"""Takes the error and the job that raised it; None gives up."""


class Backoff:
    """The shipped rules; any callable of the same shape will do."""

    @staticmethod
    def none() -> BackoffRule:
        """Try again at once."""
        return lambda error, job: 0.0

    @staticmethod
    def constant(after_s: float) -> BackoffRule:
        """Try again after the same time, always."""
        _refuse_negative(after_s=after_s)
        return lambda error, job: after_s

    @staticmethod
    def exponential(
        first_s: float = 1.0, factor: float = 2.0, max_s: float = 300.0, jitter: float = 0.1
    ) -> BackoffRule:
        """Wait `first_s`, then `factor` times as long after each error, at most `max_s`.

        `jitter` is the largest part by which a wait is made longer or shorter at random, so that
        jobs that failed together do not return together.
        """
        _refuse_negative(first_s=first_s, factor=factor, max_s=max_s, jitter=jitter)

        def rule(error: BaseException, job: Any) -> float:
            # A float overflows past 2**1023: a job on its thousandth attempt waits max_s.
            exponent = min(job.attempt - 1, 64)
            wait_s: float = min(first_s * factor**exponent, max_s)
            return wait_s * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311 (not a secret)

        return rule


def _refuse_negative(**values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
