"""Frames on a socket, whole, in their order, with their files."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.pools.processes.channel import HEADER, MAX_BODY_BYTES, Channel, Kind

Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = map(Channel, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_frame_arrives_as_it_was_sent(ends: Ends) -> None:
    """Kind, flags, seconds and body."""
    ends[0].send(Kind.RESULT, b"body", flags=3, seconds=0.5)
    assert ends[1].receive() == (Kind.RESULT, 3, 0.5, b"body")


@given(st.lists(st.binary(max_size=200), max_size=30), st.integers(1, 50))
def test_frames_are_cut_wherever_the_socket_cuts(bodies: list[bytes], piece: int) -> None:
    """In their order, and none is told before it is whole."""
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    data = b"".join(HEADER.pack(Kind.RESULT, 0, 0.0, len(body)) + body for body in bodies)
    found = []
    for start in range(0, len(data), piece):
        ours.sendall(data[start : start + piece])
        found += channel.receive_waiting()
    assert [body for _, _, _, body in found] == bodies
    ours.close()
    channel.close()


def test_the_largest_frame_needs_no_reader_to_be_sent(ends: Ends) -> None:
    """So a sender never waits with half of it sent."""
    ends[0].send(Kind.RESULT, bytes(MAX_BODY_BYTES))
    ((_, _, _, body),) = ends[1].receive_waiting()
    assert len(body) == MAX_BODY_BYTES


def test_a_longer_body_arrives_whole(ends: Ends) -> None:
    """A report may be; it is read while it is sent."""
    body = os.urandom(5_000_000)
    sender = threading.Thread(target=ends[0].send, args=(Kind.REPORT, body))
    sender.start()
    assert ends[1].receive()[3] == body
    sender.join()


def test_files_arrive_in_the_order_of_their_frames(ends: Ends) -> None:
    """However many frames are read at once."""
    pipes = [os.pipe() for _ in range(20)]
    for reader, _ in pipes:
        ends[0].send(Kind.BATCH, b"x", fds=(reader,))
    received = 0
    while received < 20:
        received += len(ends[1].receive_waiting())
    assert [os.fstat(fd).st_ino for fd in ends[1].fds] == [os.fstat(reader).st_ino for reader, _ in pipes]
    assert not any(os.get_inheritable(fd) for fd in ends[1].fds)
    for pair in pipes:
        for fd in pair:
            os.close(fd)


def test_the_end_is_told_after_the_last_frame(ends: Ends) -> None:
    """EOFError, and no frame is lost before it."""
    ends[0].send(Kind.RESULT, b"last")
    ends[0].close()
    assert [body for _, _, _, body in ends[1].receive_waiting()] == [b"last"]
    with pytest.raises(EOFError):
        ends[1].receive_waiting()
    with pytest.raises(EOFError):
        ends[1].receive()


def test_nothing_to_read_is_no_end(ends: Ends) -> None:
    """An empty list."""
    assert ends[1].receive_waiting() == []


def test_who_has_hung_up_can_still_be_told(ends: Ends) -> None:
    """Only one direction ends."""
    ends[0].hang_up()
    with pytest.raises(EOFError):
        ends[1].receive()
    ends[1].send(Kind.RESULT, b"still")
    assert ends[0].receive()[3] == b"still"


def test_sending_to_who_is_gone_is_an_os_error(ends: Ends) -> None:
    """Which whoever sends expects."""
    ends[1].close()
    with pytest.raises(OSError):
        ends[0].send(Kind.BATCH, b"x")


def test_who_spins_gets_a_frame_that_comes_later(ends: Ends) -> None:
    """It sleeps when it has looked for long enough."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(ends[1].receive(spin_s=1e-5)[3]))
    reader.start()
    ends[0].send(Kind.BATCH, b"late")
    reader.join(10)
    assert found == [b"late"]
