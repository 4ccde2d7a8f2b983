"""Who is alive on this host."""

from pathlib import Path

import pytest
from tests.helpers import PATIENCE_S, eventually, python

from treadle.worker.alive import AliveFolder

HOLD = """
import sys
from pathlib import Path
from treadle.worker.alive import AliveFolder
lock = AliveFolder(Path(sys.argv[1])).claim("worker")
print("held", flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys
from pathlib import Path
from treadle.worker.alive import AliveFolder
lock = AliveFolder(Path(sys.argv[1])).claim("worker")
if os.fork() == 0:
    print("forked", flush=True)
    os.close(1)
    os.read(0, 1)
os._exit(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> AliveFolder:
    return AliveFolder(tmp_path / "alive")


def test_a_lock_is_held_until_it_is_released(folder: AliveFolder) -> None:
    """Then its file is gone."""
    lock = folder.claim("worker")
    assert lock is not None
    assert folder.is_held("worker") is True
    lock.release()
    assert folder.is_held("worker") is None
    lock.release()


def test_a_lock_is_given_once(folder: AliveFolder) -> None:
    """Also inside one process."""
    lock = folder.claim("embedded")
    assert lock is not None
    assert folder.claim("embedded") is None
    lock.release(remove=False)
    assert folder.is_held("embedded") is False
    again = folder.claim("embedded")
    assert again is not None
    again.release()


def test_looking_does_not_take_the_lock(folder: AliveFolder) -> None:
    """Any number may look at once."""
    (folder.path).mkdir()
    (folder.path / "worker").touch()
    assert [folder.is_held("worker") for _ in range(3)] == [False] * 3
    lock = folder.claim("worker")
    assert lock is not None
    lock.release()


def test_a_file_that_is_not_there_says_nothing(folder: AliveFolder) -> None:
    """None: something else must decide."""
    assert folder.is_held("nobody") is None
    folder.forget("nobody")


def test_a_killed_process_is_not_alive(folder: AliveFolder) -> None:
    """The kernel lets go of its lock, whatever any clock says."""
    with python("-c", HOLD, str(folder.path), stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert folder.is_held("worker") is True
        process.kill()
        process.wait(PATIENCE_S)
        assert folder.is_held("worker") is False
        folder.forget("worker")
        assert folder.is_held("worker") is None


def test_a_forked_process_does_not_keep_the_lock(folder: AliveFolder) -> None:
    """Its copy of the open file is closed."""
    with python("-W", "ignore", "-c", FORK, str(folder.path), stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        process.wait(PATIENCE_S)
        eventually(lambda: folder.is_held("worker") is False, timeout_s=1)
