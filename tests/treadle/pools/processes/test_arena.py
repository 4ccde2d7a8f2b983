"""Large values travel through memory that is used again, and nothing that anybody keeps of it ever changes."""

import contextlib
import gc
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually, is_alive, shared_memory
from tests.helpers import segments as segments_of

from treadle import ProcessPool, Unpicklable
from treadle.pools.processes import arena
from treadle.pools.processes.arena import Arena, Segment, map_privately, packed_size, views

LARGE = 200_000
"""So many numbers travel apart from their pickle."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """One pool for the tests that leave it as it was."""
    with ProcessPool(1) as pool:
        yield pool


def segments() -> set[int]:
    """The files of ours that this process has open, by their inodes: a mapping has the same file open once more."""
    return set(sizes())


def sizes() -> dict[int, int]:
    """How long each of them is."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "memfd:treadle" in str(entry.readlink()):
                found[entry.stat().st_ino] = entry.stat().st_size
    return found


def churn(pool: ProcessPool) -> None:
    """Many large calls and results after it, each of which would overwrite what is wrongly taken for free."""
    for number in range(8):
        assert (pool.submit(functions.identity, np.full(LARGE, -1.0 - number)).result(PATIENCE_S) == -1 - number).all()


# Both ways


@pytest.mark.parametrize(
    "megabytes",
    [1, 100, pytest.param(1000, marks=pytest.mark.skipif("TREADLE_SOAK" not in os.environ, reason="1 GB"))],
)
def test_large_arrays_are_equal_both_ways(pool: ProcessPool, megabytes: int) -> None:
    """Whatever their size."""
    array = np.arange(megabytes << 17, dtype=np.float64)
    there = pool.submit(functions.identity, array).result(2 * PATIENCE_S)
    assert np.array_equal(there, array)


ARRAYS: dict[str, Callable[[int], Any]] = {
    "C": lambda n: np.arange(float(n)).reshape(n // 10, 10),
    "Fortran": lambda n: np.asfortranarray(np.arange(float(n)).reshape(n // 10, 10)),
    "every other": lambda n: np.arange(2.0 * n)[::2],
    "backwards": lambda n: np.arange(float(n))[::-1],
    "transposed in three": lambda n: np.arange(float(n)).reshape(n // 10, 2, 5).transpose(1, 0, 2),
    "no values": lambda n: np.zeros((0, n)),
    "no dimension": lambda n: np.array(float(n)),
    "structured": lambda n: np.array([(1, 2.5, b"abc")] * n, dtype=[("a", "i4"), ("b", "f8"), ("c", "S3")]),
    "dates": lambda n: np.arange(n).astype("M8[s]"),
    "texts": lambda n: np.array(["abc", "äöü"] * n),
    "big-endian": lambda n: np.arange(n, dtype=">i4"),
    "objects": lambda n: np.array([{"a": 1}, None] * n, dtype=object),
    "booleans": lambda n: np.ones(n, dtype=bool),
}


@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("make", ARRAYS.values(), ids=list(ARRAYS))
def test_arrays_of_every_kind_travel(pool: ProcessPool, make: Callable[[int], Any], size: int) -> None:
    """Their values, type and shape."""
    array = make(size)
    there = pool.submit(functions.identity, array).result(PATIENCE_S)
    assert (there.dtype, there.shape) == (array.dtype, array.shape)
    assert np.array_equal(there, array)


@pytest.mark.parametrize("size", [0, 10, 40_000, 300_000, 3_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_every_size_travel(pool: ProcessPool, kind: type, size: int) -> None:
    """As what they are."""
    data = kind(os.urandom(size))
    there = pool.submit(functions.identity, data).result(PATIENCE_S)
    assert type(there) is kind
    assert there == data


def test_a_memoryview_is_told_not_to_travel(pool: ProcessPool) -> None:
    """As by pickle itself; the message names it."""
    with pytest.raises(Unpicklable, match=r"argument 0 is <memory at .*>, a memoryview, which cannot be pickled"):
        pool.submit(functions.identity, memoryview(bytes(500_000))).result(PATIENCE_S)


def test_data_frames_travel(pool: ProcessPool) -> None:
    """Columns of numbers, large, beside others; the frame there can be written to."""
    frame = pd.DataFrame({"a": np.arange(LARGE), "b": np.linspace(0, 1, LARGE), "c": ["x", "y"] * (LARGE // 2)})
    there = pool.submit(functions.identity, frame).result(PATIENCE_S)
    pd.testing.assert_frame_equal(there, frame)
    changed = pool.submit(functions.set_column, frame).result(PATIENCE_S)
    assert (changed["a"] == 5).all()
    assert (frame["a"] == np.arange(LARGE)).all()


@pytest.mark.parametrize("size", [10, 20_000, LARGE], ids=["small", "medium", "large"])
@pytest.mark.parametrize("is_writeable", [True, False], ids=["writeable", "read-only"])
def test_an_argument_keeps_its_writeable_flag(pool: ProcessPool, size: int, is_writeable: bool) -> None:
    """Whatever its size, and so does a result."""
    array = np.ones(size)
    array.flags.writeable = is_writeable
    _, there, _ = pool.submit(functions.look_at, array).result(PATIENCE_S)
    assert there == is_writeable
    assert pool.submit(functions.identity, array).result(PATIENCE_S).flags.writeable == is_writeable


@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
def test_a_call_may_write_to_its_argument(pool: ProcessPool, size: int) -> None:
    """The caller's array does not change."""
    array = np.ones(size)
    assert pool.submit(functions.write_to, array).result(PATIENCE_S) == 99
    assert (array == 1).all()


def test_the_caller_may_write_to_its_array_when_the_call_was_taken(gate: Gate) -> None:
    """What was given is what is called with: it is copied before `submit` returns where a child is idle."""
    with ProcessPool(1) as pool:
        pool.submit(functions.pid).result(PATIENCE_S)
        eventually(lambda: pool.stats().busy == 0)
        array = np.ones(LARGE)
        future = pool.submit(functions.identity, array)
        array[:] = 2
        assert (future.result(PATIENCE_S) == 1).all()


# What somebody keeps


@pytest.mark.parametrize("how", ["cache", "slice", "view", "memoryview", "closure", "traceback", "thread", "cycle"])
def test_what_a_child_keeps_of_an_argument_never_changes(how: str) -> None:
    """Wherever it keeps it, however many large calls follow."""
    with ProcessPool(1) as pool:
        pool.submit(functions.keep_in, how, np.full(LARGE, 7.0)).result(PATIENCE_S)
        churn(pool)
        assert pool.submit(functions.value_kept_in, how).result(PATIENCE_S) == [7.0]


def test_what_a_grandchild_keeps_of_an_argument_never_changes(gate: Gate) -> None:
    """A fork inside the call has the same memory, which this child has let go of."""
    with ProcessPool(1) as pool:
        path = gate.folder / "seen"
        pool.submit(functions.fork_and_look_later, np.full(LARGE, 7.0), str(gate.path), str(path)).result(PATIENCE_S)
        churn(pool)
        gate.open()
        assert eventually(lambda: path.exists() and path.read_text()) == "[7.0]"


def test_what_a_fork_returns_after_the_child_is_nobodys(pool: ProcessPool, gate: Gate) -> None:
    """Where a call forks and comes back in both processes, only the child has memory for a result."""
    for _ in range(2):
        pool.submit(functions.return_in_both, None, LARGE).result(PATIENCE_S)
    result = pool.submit(functions.return_in_both, str(gate.path), LARGE).result(PATIENCE_S)
    fork = int(result[0])
    gate.open()
    eventually(lambda: not is_alive(fork))
    assert set(result.tolist()) == {fork}


def test_what_a_child_keeps_of_what_it_returned_never_changes(pool: ProcessPool) -> None:
    """And what was returned is right, although it is the argument itself."""
    array = np.full(LARGE, 7.0)
    results = [pool.submit(functions.keep_and_return, f"{number}", array + number) for number in range(5)]
    values = [future.result(PATIENCE_S) for future in results]
    churn(pool)
    assert [set(value.tolist()) for value in values] == [{7.0 + number} for number in range(5)]
    assert [pool.submit(functions.value_of_kept, f"{n}").result(PATIENCE_S) for n in range(5)] == [
        [7.0 + n] for n in range(5)
    ]


def test_results_that_the_caller_keeps_never_change(pool: ProcessPool) -> None:
    """Wholly or in part, while other results come and go."""
    kept = [pool.submit(np.full, LARGE, float(number)).result(PATIENCE_S) for number in range(6)]
    slices = [array[number::1000] for number, array in enumerate(kept)]
    del kept[::2]
    gc.collect()
    churn(pool)
    assert [set(array.tolist()) for array in kept] == [{1.0}, {3.0}, {5.0}]
    assert [set(array.tolist()) for array in slices] == [{float(number)} for number in range(6)]


def test_a_result_that_a_forked_process_has_never_changes() -> None:
    """Its memory is not used again when this process has let go of it."""
    with ProcessPool(1) as pool:
        result = pool.submit(np.full, LARGE, 7.0).result(PATIENCE_S)
        reader, writer = os.pipe()
        forked = os.fork()
        if not forked:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0 if (result == 7).all() else 1)
        os.close(reader)
        del result
        churn(pool)
        os.close(writer)
        assert os.waitpid(forked, 0)[1] == 0


def test_writing_to_a_result_changes_no_other(pool: ProcessPool) -> None:
    """It is the caller's own."""
    one, other = (pool.submit(np.ones, LARGE).result(PATIENCE_S) for _ in range(2))
    one[:] = 5
    churn(pool)
    assert (one == 5).all()
    assert (other == 1).all()


# Reuse


def test_segments_are_used_again() -> None:
    """Any number of calls, one after the other, needs no more than a few, although results bring new ones."""
    with ProcessPool(1) as pool:
        array = np.ones(LARGE)
        for _ in range(3):
            pool.submit(functions.identity, array).result(PATIENCE_S)
        before = len(segments())
        for _ in range(30):
            pool.submit(functions.identity, array).result(PATIENCE_S)
        # One that is free or lent, and one whose result the loop has just dropped.
        assert len(segments()) <= before + 2


def test_the_same_segment_carries_call_after_call() -> None:
    """It is given back when the call has ended and nobody holds anything of it."""
    with ProcessPool(1) as pool:
        numbers = set()
        for _ in range(10):
            pool.submit(np.sum, np.ones(LARGE)).result(PATIENCE_S)
            (free,) = eventually(lambda: pool._crew.arena._free)
            numbers.add(free.fd)
        assert len(numbers) == 1


def file_of(array: Any) -> int:
    """The inode of the file in which an array lies."""
    address = array.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *_ = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return int(inode)
    raise AssertionError(f"nothing is mapped at {address:x}")


def test_results_lie_in_memory_that_was_used_before(pool: ProcessPool) -> None:
    """Once a result is gone, the next of this function needs no new memory."""
    files = [file_of(pool.submit(np.full, LARGE, 1.0 * number).result(PATIENCE_S)) for number in range(10)]
    assert len(set(files[2:])) <= 2


def test_a_larger_result_than_the_last_has_memory_of_its_own(pool: ProcessPool) -> None:
    """And it is right, as those after it are."""
    for size in (LARGE, 3 * LARGE, LARGE, 9 * LARGE, 2 * LARGE):
        assert (pool.submit(np.full, size, size).result(PATIENCE_S) == size).all()


def test_a_small_result_holds_no_memory_of_a_large_one(pool: ProcessPool) -> None:
    """However often they come by turns, and who keeps the small ones keeps little."""
    kept = []
    for _ in range(3):
        pool.submit(np.ones, 30 * LARGE).result(PATIENCE_S)
        kept.append(pool.submit(np.ones, LARGE).result(PATIENCE_S))
    assert all(sizes()[file_of(array)] < 5 * array.nbytes for array in kept)


def test_a_segment_that_a_child_holds_is_retired() -> None:
    """It is closed here, and no later call gets it."""
    with ProcessPool(1) as pool:
        pool.submit(np.sum, np.ones(LARGE)).result(PATIENCE_S)
        eventually(lambda: len(pool._crew.arena._free) == 1)
        pool.submit(functions.keep, "held", np.ones(LARGE)).result(PATIENCE_S)
        assert pool._crew.arena._free == []


def test_unused_segments_are_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm memory is memory all the same."""
    monkeypatch.setattr(arena, "KEEP_FREE_S", 0.05)
    before = segments()
    with ProcessPool(1) as pool:
        result = pool.submit(functions.identity, np.ones(LARGE)).result(PATIENCE_S)
        eventually(lambda: len(segments() - before) == 1)
        assert result[0] == 1
        del result
        eventually(lambda: not segments() - before)


def test_what_was_lent_for_a_result_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that has had large results and has nothing to do keeps no memory for the next."""
    monkeypatch.setattr(arena, "KEEP_FREE_S", 0.05)
    before = segments()
    with ProcessPool(1) as pool:
        lent = []
        for _ in range(3):
            pool.submit(np.ones, LARGE).result(PATIENCE_S)
            pool.submit(functions.double, 1).result(PATIENCE_S)
            pool.submit(np.ones, LARGE).add_done_callback(lambda future: lent.append(future.result()[0]))
        eventually(lambda: len(lent) == 3 and not segments() - before)
        eventually(lambda: all(not segments_of(child) for child in pool.pids))


def test_what_was_lent_is_closed_although_the_child_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the memory that is not used, however many small calls are served meanwhile."""
    monkeypatch.setattr(arena, "KEEP_FREE_S", 0.4)
    before = segments()
    with ProcessPool(1) as pool:
        for size in (LARGE, LARGE, 1):
            pool.submit(np.ones, size).result(PATIENCE_S)
        eventually(lambda: pool.submit(functions.double, 1).result(PATIENCE_S) and not segments() - before)


def test_a_pool_that_was_shut_down_has_no_memory() -> None:
    """But for the results that still live, which are right, and whose memory ends with them."""
    before = segments()
    pool = ProcessPool(2)
    kept = pool.submit(np.full, LARGE, 7.0).result(PATIENCE_S)
    for _ in range(3):
        pool.submit(functions.identity, np.ones(LARGE)).result(PATIENCE_S)
    pool.shutdown()
    assert len(segments() - before) == 1
    assert (kept == 7).all()
    del kept
    gc.collect()
    assert not segments() - before


def test_nothing_is_left_in_shared_memory(pool: ProcessPool) -> None:
    """Our memory has no names; while calls run neither."""
    before = shared_memory()
    array = np.ones(LARGE)
    futures = [pool.submit(functions.identity, array) for _ in range(5)]
    assert shared_memory() == before
    assert all((future.result(PATIENCE_S) == 1).all() for future in futures)
    assert shared_memory() == before


def test_a_crash_with_a_large_argument_loses_only_that(gate: Gate) -> None:
    """Its memory is not used again; what waits behind it is right."""
    with ProcessPool(1) as pool:
        calls = [pool.submit(functions.kill_myself, np.ones(LARGE)), pool.submit(functions.identity, np.ones(LARGE))]
        assert calls[0].exception(PATIENCE_S) is not None
        assert (calls[1].result(PATIENCE_S) == 1).all()


# The arena itself


def test_an_arena_gives_the_smallest_segment_that_fits() -> None:
    """And no giant for a dwarf."""
    own = Arena(most_free=3)
    sizes = [200_000, 1_000_000, 50_000_000]
    packed = [own.pack([memoryview(bytes(size))])[0] for size in sizes]
    for segment in packed:
        own.give_back(segment)
    assert own.pack([memoryview(bytes(900_000))])[0] is packed[1]
    assert own.pack([memoryview(bytes(150_000))])[0] is packed[0]
    assert own.pack([memoryview(bytes(150_000))])[0] is not packed[2]
    own.close()


def test_nobody_waits_for_a_spare() -> None:
    """Who asks for one holds the crew's lock, which a finalizer may want while somebody holds the arena's."""
    own = Arena()
    segment, _ = own.pack([memoryview(bytes(200_000))])
    own.give_back(segment)
    with own._lock:
        assert own.take_spare(200_000) is None
    assert own.take_spare(200_000) is segment
    own.close()


def test_nobody_waits_for_ever_for_an_arena() -> None:
    """A finalizer may send a large call in the very thread that it has interrupted: that has new memory."""
    own = Arena()
    segment, _ = own.pack([memoryview(bytes(200_000))])
    own.give_back(segment)
    with own._lock:
        assert own.pack([memoryview(bytes(200_000))])[0] is not segment
    assert own.pack([memoryview(bytes(200_000))])[0] is segment
    own.close()


def test_buffers_lie_where_their_parts_say() -> None:
    """Each as long and as writeable as it was."""
    own = Arena()
    buffers = [memoryview(b"abc"), memoryview(bytearray(5_000_001)), memoryview(b""), memoryview(b"z" * 70)]
    segment, parts = own.pack(buffers)
    memory = map_privately(segment.fd)
    found = views(memoryview(memory), parts)
    assert [view.tobytes() for view in found] == [buffer.tobytes() for buffer in buffers]
    assert [view.readonly for view in found] == [True, False, True, True]
    assert segment.size >= packed_size(buffers)


def test_an_adopted_segment_is_free_when_nobody_looks_into_it() -> None:
    """And not before."""
    own, child = Arena(), Arena()
    segment, parts = child.pack([memoryview(pickle.dumps("x")), memoryview(bytes(500_000))])
    memory: Any = own.adopt(Segment.received(os.dup(segment.fd)))
    looking = np.frombuffer(views(memoryview(memory), parts)[1], np.uint8)[10:20]
    del memory
    own.trim()
    assert own._free == []
    del looking
    own.trim()
    assert len(own._free) == 1
    own.close()
    child.close()
