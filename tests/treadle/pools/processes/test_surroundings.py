"""What surrounds the tasks in a child."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually

from treadle import ProcessPool
from treadle.pools.processes.surroundings import BLAS_VARIABLES, OOM_SCORE, blas_threads, own_memory_mb


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(2) as pool:
        yield pool


def test_blas_variables_are_as_before_after_a_wide_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not set too."""
    for name in BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with blas_threads(2):
        assert {os.environ[name] for name in BLAS_VARIABLES} == {"2"}
    assert [os.environ.get(name) for name in BLAS_VARIABLES] == ["7", *[None] * (len(BLAS_VARIABLES) - 1)]


def test_blas_variables_of_the_owner_are_its_own(pool: ProcessPool) -> None:
    """Children have one thread each whatever is set here."""
    before = dict(os.environ)
    assert pool.submit(functions.environment, "OPENBLAS_NUM_THREADS").result(PATIENCE_S) == "1"
    assert dict(os.environ) == before


def test_a_service_manager_that_stops_all_processes_does_not_end_a_call(gate: Gate) -> None:
    """A child ends when its owner lets it."""
    with ProcessPool(1) as pool:
        started = gate.folder / "started"
        future = pool.submit(functions.announce_once_and_wait, str(started), str(gate.path))
        child = int(eventually(lambda: started.exists() and started.read_text()))
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(child, number)
        gate.open()
        assert future.result(PATIENCE_S) == "open"
        assert pool.submit(functions.pid).result(PATIENCE_S) == child


def test_what_a_call_starts_heeds_signals(pool: ProcessPool) -> None:
    """Programs and forks have the default again."""
    assert pool.submit(functions.end_of_stopped_program).result(PATIENCE_S) == -signal.SIGTERM
    assert pool.submit(functions.end_of_stopped_fork).result(PATIENCE_S) == signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_the_kernel_takes_children_first_when_memory_runs_out(pool: ProcessPool) -> None:
    """And not the web server."""
    child = pool.submit(functions.pid).result(PATIENCE_S)
    assert int(Path(f"/proc/{child}/oom_score_adj").read_text()) == OOM_SCORE


def test_memory_that_is_shared_is_not_own_memory() -> None:
    """Own memory grows by what is written here."""
    before = own_memory_mb(os.getpid())
    data = bytearray(b"." * (64 << 20))
    assert own_memory_mb(os.getpid()) - before == pytest.approx(64, abs=8)
    assert data


def test_the_memory_of_a_process_that_is_gone_is_none() -> None:
    """No error."""
    assert own_memory_mb(2**22 + 1) == 0.0
