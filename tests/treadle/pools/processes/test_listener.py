"""The pool's one thread in its owner."""

from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S

from treadle import ProcessPool


@pytest.mark.parametrize("seconds", [30 * 86400, 1e12, float("inf")], ids=["a month", "ages", "for ever"])
def test_a_time_however_long_is_waited_for(seconds: float) -> None:
    """The kernel's poll takes 24 days at most; that is the listener's concern, not the caller's."""
    with ProcessPool(1, idle_timeout_s=seconds) as pool:
        for number in range(3):
            limits: dict[str, Any] = {"timeout_s": seconds} if number else {}
            assert pool.call(functions.double, (number,), **limits).result(PATIENCE_S) == 2 * number
