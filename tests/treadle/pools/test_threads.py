"""The pool of threads."""

import contextvars
import threading

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, python

from treadle import ThreadPool
from treadle.pools.contract import Pool
from treadle.testing.pool_contract import PoolContract

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

STUCK = """
import threading
from treadle import ThreadPool
pool = ThreadPool(1)
started = threading.Event()
pool.call(threading.Event().wait, on_started=started.set)
started.wait()
print("end of the program")
"""


def set_and_read(value: str) -> str:
    before = variable.get()
    variable.set(value)
    return before


class TestThreadPool(PoolContract):
    def make_pool(self) -> Pool:
        return ThreadPool(2)


def test_calls_run_at_once(gate: Gate) -> None:
    """As many as there are threads."""
    with ThreadPool(4) as pool:
        futures = [pool.submit(functions.meet, str(gate.folder), 4, number) for number in range(4)]
        assert [future.result(PATIENCE_S) for future in futures] == [0, 1, 2, 3]


def test_threads_start_when_there_is_work() -> None:
    """None before the first call, and no second one while the first is idle."""
    pool = ThreadPool(4, name="lazy")
    assert _threads("lazy") == 0
    for _ in range(5):
        pool.submit(functions.double, 1).result(PATIENCE_S)
    assert 1 <= _threads("lazy") <= 2
    pool.shutdown()


def test_shutdown_leaves_no_thread() -> None:
    """All of them have ended when it returns."""
    pool = ThreadPool(3, name="gone")
    for future in [pool.submit(functions.double, 1) for _ in range(20)]:
        future.result(PATIENCE_S)
    pool.shutdown()
    assert _threads("gone") == 0


def test_a_call_does_not_see_what_another_one_set() -> None:
    """Each runs in a context of its own."""
    with ThreadPool(1) as pool:
        assert pool.submit(set_and_read, "a").result(PATIENCE_S) == "unset"
        assert pool.submit(set_and_read, "b").result(PATIENCE_S) == "unset"


def test_a_call_may_shut_its_pool_down() -> None:
    """From one of its own threads, without waiting for itself."""
    pool = ThreadPool(1)
    assert pool.submit(pool.shutdown).result(PATIENCE_S) is None


def test_a_pool_without_threads_is_refused() -> None:
    """ValueError, with the number."""
    with pytest.raises(ValueError, match="max_workers must be greater than 0, got 0"):
        ThreadPool(0)


def test_it_is_an_executor() -> None:
    """`map` and `submit` are those of `concurrent.futures`."""
    with ThreadPool(2) as pool:
        assert list(pool.map(functions.double, range(5))) == [0, 2, 4, 6, 8]


def test_a_stuck_call_does_not_keep_the_program() -> None:
    """Its thread is a daemon."""
    with python("-c", STUCK) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("end of the program\n", "")


def test_a_pool_goes_on_in_a_forked_process() -> None:
    """Its threads stayed behind; the child starts threads of its own."""
    program = (
        "import os; from treadle import ThreadPool; pool = ThreadPool(1); pool.submit(len, 'a').result()\n"
        "if os.fork() == 0: os._exit(0 if pool.submit(len, 'ab').result(10) == 2 else 1)\n"
        "assert os.wait()[1] == 0"
    )
    with python("-W", "ignore", "-c", program) as process:
        assert process.communicate(timeout=PATIENCE_S)[1] == ""


def _threads(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())
