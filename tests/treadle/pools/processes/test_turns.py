"""How long a child's turns on a processor are."""

import os
import re
import sys
from pathlib import Path

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, python

from treadle import ProcessPool
from treadle.pools.processes.turns import TURN_NS


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or _kernel() < (6, 12) or not Path("/proc/self/sched").exists(),
    reason="a kernel that takes wishes for the length of a turn, and tells of it",
)


def test_a_child_has_longer_turns_than_its_owner() -> None:
    """So the owner may interrupt it."""
    with ProcessPool(1) as pool:
        assert pool.submit(functions.turn_ns).result(PATIENCE_S) == TURN_NS > functions.turn_ns()


def test_a_child_that_does_not_stand_back_has_turns_like_its_owner() -> None:
    """With `nice=0`."""
    with ProcessPool(1, nice=0) as pool:
        assert pool.submit(functions.turn_ns).result(PATIENCE_S) == functions.turn_ns()


def test_long_turns_change_neither_niceness_nor_policy() -> None:
    """They are asked for in one call of the kernel, which sets these too."""
    assert _after("os.nice(3); os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))") == [
        min(19, os.nice(0) + 3), os.SCHED_BATCH, TURN_NS
    ]  # fmt: skip


def test_a_machine_that_is_not_known_is_asked_for_nothing() -> None:
    """The number of the call would be another's there."""
    assert _after("turns.SCHED_SETATTR.clear()")[-1] == functions.turn_ns()


def _after(preparation: str) -> list[int]:
    """Niceness, policy and turns of a process that has prepared itself so, and taken long turns."""
    program = (
        "import os; from tests import functions; from treadle.pools.processes import turns\n"
        f"{preparation}\n"
        "turns.take_long_turns()\n"
        "print(os.nice(0), os.sched_getscheduler(0), functions.turn_ns())"
    )
    with python("-c", program) as process:
        return list(map(int, process.communicate()[0].split()))
