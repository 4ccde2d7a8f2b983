"""Arrays that are put into shared memory once."""

import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, open_files, shared_memory

from treadle import ProcessPool, TaskTimeout
from treadle.pools.processes import member


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """One pool for the tests that leave it as it was."""
    with ProcessPool(1) as pool:
        yield pool


def mappings(pool: ProcessPool) -> int:
    """How many of our files the pool's one child has mapped."""
    (child,) = pool.pids
    return Path(f"/proc/{child}/maps").read_text().count("memfd:treadle")


VIEWS: dict[str, Callable[[Any], Any]] = {
    "all of it": lambda array: array,
    "a slice": lambda array: array[10:20, 3:],
    "every other": lambda array: array[::2, ::3],
    "backwards": lambda array: array[::-1, ::-1],
    "transposed": lambda array: array.T,
    "a row": lambda array: array[7],
    "reshaped": lambda array: array.reshape(-1, order="A"),
    "as another type": lambda array: array.view(np.int64),
    "repeated": lambda array: np.broadcast_to(array[0], (5, array.shape[1]), subok=True),
    "nothing": lambda array: array[:0],
    "with another axis": lambda array: array[None],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_shared_array_and_its_views_travel_as_a_name(pool: ProcessPool, view: Any, order: Any) -> None:
    """They are right and read-only there, and lie in the memory that was mapped once."""
    array = np.array(np.arange(400_000.0).reshape(2000, 200), order=order)
    shared = pool.share(array)
    there, is_writeable, is_mapped = pool.submit(functions.look_at, view(shared)).result(PATIENCE_S)
    assert np.array_equal(there, view(array))
    assert there.dtype == view(array).dtype
    assert not is_writeable
    assert is_mapped


DTYPES = ["bool", "i1", ">u2", "f2", "f8", "longdouble", "c16", "M8[s]", "m8[ns]", "S3", "U3", "V5", "i4,f8,(2,)u1"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_of_plain_values_is_shared(pool: ProcessPool, dtype: str) -> None:
    """Structures, texts and dates too."""
    array = np.frombuffer(os.urandom(np.dtype(dtype).itemsize * 50), np.uint8).view(dtype)
    if dtype == "U3":
        array = np.array(["abc", "é", ""])
    shared = pool.share(array)
    there, _, _ = pool.submit(functions.look_at, shared).result(PATIENCE_S)
    assert there.dtype == shared.dtype == array.dtype
    assert there.tobytes() == shared.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (3, 0, 2)], ids=str)
def test_arrays_of_any_shape_are_shared(pool: ProcessPool, shape: tuple[int, ...]) -> None:
    """Those without dimensions or values too."""
    shared = pool.share(np.ones(shape))
    there, _, _ = pool.submit(functions.look_at, shared).result(PATIENCE_S)
    assert there.shape == shared.shape == shape
    assert (there == 1).all()


def test_a_shared_array_is_a_copy_that_nobody_can_write_to(pool: ProcessPool) -> None:
    """Neither here nor there; the original stays the caller's own."""
    array = np.zeros(1000)
    shared = pool.share(array)
    array[:] = 1
    assert shared.sum() == 0
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 1
    assert isinstance(pool.submit(functions.write_to, shared).exception(PATIENCE_S), ValueError)
    assert isinstance(pool.submit(functions.make_writeable, shared).exception(PATIENCE_S), ValueError)


def test_what_is_computed_from_a_shared_array_is_the_callers_own(pool: ProcessPool) -> None:
    """Plain arrays and numbers, which can be written to."""
    shared = pool.share(np.arange(4.0))
    for computed in (shared + 1, np.sqrt(shared), shared * shared, shared > 1, shared.cumsum()):
        assert type(computed) is np.ndarray
        assert computed.flags.writeable
    assert not isinstance(shared.sum(), np.ndarray)
    assert shared.sum() == 6


def test_a_copy_of_a_shared_array_travels_as_its_own_values(pool: ProcessPool) -> None:
    """And not as those that it was copied from."""
    copy = pool.share(np.zeros(50_000)).copy()
    copy[:] = 5
    there, is_writeable, _ = pool.submit(functions.look_at, copy).result(PATIENCE_S)
    assert (there == 5).all()
    assert is_writeable


def test_a_shared_array_is_used_by_many_calls_and_pools() -> None:
    """Each child maps it once."""
    with ProcessPool(1) as pool, ProcessPool(1) as other:
        shared = pool.share(np.arange(100_000.0))
        for each in (pool, other):
            totals = [each.submit(np.sum, shared[number:]) for number in range(50)]
            assert [future.result(PATIENCE_S) for future in totals] == [shared[n:].sum() for n in range(50)]
            assert mappings(each) == 1
        assert list(pool.map(np.sum, [shared] * 20)) == [shared.sum()] * 20


def test_shared_arrays_travel_inside_other_values(pool: ProcessPool) -> None:
    """Several at once, beside large ones that are not shared."""
    shared = [pool.share(np.full(50_000, float(number))) for number in range(5)]
    value = {"shared": shared, "large": np.ones(100_000), "again": shared[0]}
    assert pool.submit(functions.sums_of, value).result(PATIENCE_S) == ([0, 5e4, 1e5, 1.5e5, 2e5], 1e5, 0)


def test_pickled_for_somebody_else_it_is_an_ordinary_array(pool: ProcessPool) -> None:
    """By its values."""
    shared = pool.share(np.arange(10))
    again = pickle.loads(pickle.dumps(shared[2:]))
    assert type(again) is np.ndarray
    assert again.tolist() == list(range(2, 10))


def test_children_forget_an_array_that_is_gone() -> None:
    """Its memory is free again, also in children that have nothing to do."""
    with ProcessPool(1) as pool:
        shared = pool.share(np.ones(1_000_000))
        view = shared[5:]
        assert pool.submit(np.sum, shared).result(PATIENCE_S) == 1_000_000
        del shared
        gc.collect()
        assert pool.submit(np.sum, view).result(PATIENCE_S) == 999_995
        assert mappings(pool) == 1
        del view
        gc.collect()
        eventually(lambda: mappings(pool) == 0)


def test_what_a_child_keeps_of_an_array_that_is_gone_stays_right() -> None:
    """Its memory is written to by nobody."""
    with ProcessPool(1) as pool:
        shared = pool.share(np.full(100_000, 7.0))
        pool.submit(functions.keep, "shared", shared[10:]).result(PATIENCE_S)
        del shared
        gc.collect()
        for number in range(10):
            other = pool.share(np.full(100_000, float(number)))
            assert pool.submit(np.sum, other).result(PATIENCE_S) == number * 100_000
        assert pool.submit(functions.value_of_kept, "shared").result(PATIENCE_S) == [7.0]


def test_an_array_that_outlives_its_shared_one_stays_right(pool: ProcessPool) -> None:
    """A plain view of the same memory."""
    plain = np.asarray(pool.share(np.full(1000, 3.0)))
    gc.collect()
    assert (plain == 3).all()
    assert pool.submit(np.sum, plain).result(PATIENCE_S) == 3000


def test_shared_arrays_leave_no_file_behind() -> None:
    """Neither here nor in /dev/shm."""
    with ProcessPool(1) as pool:
        pool.submit(np.sum, pool.share(np.ones(1000))).result(PATIENCE_S)
        gc.collect()
        before, memory_before = len(open_files()), shared_memory()
        for number in range(20):
            assert pool.submit(np.sum, pool.share(np.ones(1000) * number)).result(PATIENCE_S) == number * 1000
        gc.collect()
        # Fewer, where something of an earlier test has gone meanwhile.
        assert len(open_files()) <= before
        assert shared_memory() == memory_before


def test_a_timeout_is_kept_although_many_arrays_are_dropped(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """The child that works reads nothing, and what it is to forget would not fit into its socket."""
    monkeypatch.setattr(member, "_SEND_BUFFER_BYTES", 4096)
    started = threading.Event()
    with ProcessPool(1) as pool:
        shared = [pool.share(np.zeros(10)) for _ in range(200)]
        for array in shared:
            pool.submit(functions.identity, array).result(PATIENCE_S)
        late = pool.call(functions.wait_for, (str(gate.path),), timeout_s=0.2, on_started=started.set)
        assert started.wait(PATIENCE_S)
        del shared, array
        gc.collect()
        assert isinstance(late.exception(PATIENCE_S), TaskTimeout)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([1, 2], "got a list"),
        (memoryview(b"a"), "got a memoryview"),
        (np.array([[], 1], dtype=object), "got an array of object"),
        (np.zeros(2, dtype=[("a", "O")]), "got an array of "),
        (3, "got a int"),
    ],
    ids=["list", "memoryview", "objects", "objects in a structure", "number"],
)
def test_what_is_no_array_of_plain_values_is_refused(pool: ProcessPool, value: object, told: str) -> None:
    """TypeError, naming what it is."""
    with pytest.raises(TypeError, match=f"share takes a NumPy array of plain values, {told}"):
        pool.share(value)
