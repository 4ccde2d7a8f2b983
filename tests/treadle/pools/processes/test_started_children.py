"""The pool where children are not forked, as on macOS: the same tests, with the same answers."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests import functions
from tests.helpers import PATIENCE_S
from tests.treadle.pools.processes.test_owner import test_no_two_children_draw_the_same  # noqa: F401
from tests.treadle.pools.processes.test_pool import *  # noqa: F403

from treadle import PoolBroken, ProcessPool
from treadle.pools.processes import launch


@pytest.fixture(autouse=True, scope="module")
def _children_are_started() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "CAN_FORK", False)
        yield


def test_children_are_programs_of_their_own() -> None:
    """And not copies of the zygote."""
    with ProcessPool(1) as pool:
        assert "processes.child" in pool.submit(command_line).result(PATIENCE_S)


def test_what_a_call_starts_has_nothing_of_its_child() -> None:
    """Neither its socket nor its permits."""
    with ProcessPool(1) as pool:
        assert pool.submit(files_of_a_program).result(PATIENCE_S) == ["0", "1", "2", "3"]


def test_each_child_imports_what_is_preloaded() -> None:
    """By itself; what it raises breaks the pool."""
    with ProcessPool(1, preload=["colorsys"]) as pool:
        assert pool.submit(functions.has_imported, "colorsys").result(PATIENCE_S)
    with ProcessPool(1, preload=["nowhere.at_all"]) as pool, pytest.raises(PoolBroken):
        pool.submit(functions.double, 1).result(PATIENCE_S)


def command_line() -> str:
    from pathlib import Path

    return Path("/proc/self/cmdline").read_text()


def files_of_a_program() -> list[str]:
    program = "import os; print(*sorted(os.listdir('/proc/self/fd')))"
    return subprocess.run(
        [sys.executable, "-c", program], close_fds=False, capture_output=True, text=True, check=True
    ).stdout.split()
