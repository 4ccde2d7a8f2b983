"""Leave to start tasks: each permit is taken once, by the child or back by its owner."""

import os
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.pools.processes.permits import MOST_AT_ONCE, Permits, take


@given(st.lists(st.one_of(st.integers(1, 100), st.sampled_from(["take", "back"])), max_size=50))
@settings(deadline=None)
def test_permits_are_counted_exactly(steps: "list[int | str]") -> None:
    """Whatever is granted, taken and taken back, in any order."""
    permits, left = Permits(), 0
    for step in steps:
        assert permits.left == left
        if step == "take":
            assert take(permits.reader) == (left > 0)
            left = max(0, left - 1)
        elif step == "back":
            assert permits.take_back() == left
            left = 0
        else:
            permits.grant(int(step))
            left += int(step)
    permits.close()


def test_as_many_as_a_batch_has_are_taken_back_at_once() -> None:
    """And more than any batch has can be granted without waiting."""
    permits = Permits()
    permits.grant(MOST_AT_ONCE)
    assert permits.take_back() == MOST_AT_ONCE
    assert permits.take_back() == 0
    permits.close()


@pytest.mark.parametrize("seed", range(5))
def test_permits_add_up_between_two_processes(seed: int) -> None:
    """What one grants and takes back, and the other takes at the same time: granted = taken + taken back."""
    permits, chance = Permits(), random.Random(seed)
    done_reader, done_writer = os.pipe()
    answer_reader, answer_writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(done_writer)
        os.set_blocking(done_reader, False)
        taken, is_done = 0, False
        while True:
            if take(permits.reader):
                taken += 1
                continue
            if is_done:
                os.write(answer_writer, str(taken).encode())
                os._exit(0)
            try:
                is_done = os.read(done_reader, 1) == b""
            except BlockingIOError:
                continue
    granted = back = 0
    for _ in range(3000):
        count = chance.randrange(1, 40)
        permits.grant(count)
        granted += count
        if chance.random() < 0.7:
            back += permits.take_back()
    back += permits.take_back()
    for fd in (done_reader, done_writer):
        os.close(fd)
    taken = int(os.read(answer_reader, 100))
    assert os.waitpid(child, 0)[1] == 0
    assert granted == taken + back
    for fd in (answer_reader, answer_writer):
        os.close(fd)
    permits.close()


def test_permits_add_up_between_threads() -> None:
    """Also where several take."""
    permits, taken, stop = Permits(), [0] * 3, threading.Event()

    def take_until_stopped(index: int) -> None:
        while not stop.is_set():
            taken[index] += take(permits.reader)

    threads = [threading.Thread(target=take_until_stopped, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    back = 0
    for _ in range(2000):
        permits.grant(5)
        back += permits.take_back()
    stop.set()
    for thread in threads:
        thread.join()
    assert sum(taken) + back + permits.take_back() == 10_000
    permits.close()
