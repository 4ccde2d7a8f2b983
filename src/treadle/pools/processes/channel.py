"""Frames on the private socket of one child: a kind, the number of a call, and a pickled body."""

import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<BQQ")
READ_BYTES = 256 * 1024


class Kind(IntEnum):
    """What a frame is."""

    PREPARE = 0
    """To the child, once: how to make itself ready."""
    READY = 1
    """From the child, once: its initializer has run."""
    BROKEN = 2
    """From the child, once: its initializer has failed."""
    CALL = 3
    """To the child: a function with its arguments."""
    PROGRESS = 4
    """From the child: a value that a running function reported."""
    RESULT = 5
    """From the child: what the function returned."""
    ERROR = 6
    """From the child: what the function raised."""


class Frame(NamedTuple):
    kind: Kind
    call_id: int
    body: bytes


class Channel:
    """One end of the socket. Many threads must not send at once; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._unread = bytearray()
        # Kept: a new buffer of this size would be a map and an unmap for each frame.
        self._buffer = memoryview(bytearray(READ_BYTES))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, frame: Frame) -> None:
        """Write a whole frame, waiting for the other side to read. Raises OSError where it is gone."""
        header = HEADER.pack(frame.kind, frame.call_id, len(frame.body))
        if len(frame.body) < READ_BYTES:
            self._socket.sendall(header + frame.body)
        else:
            self._socket.sendall(header)
            self._socket.sendall(frame.body)

    def receive(self) -> Frame:
        """Wait for a frame. Raises EOFError where the other side is gone."""
        kind, call_id, length = HEADER.unpack(self._read(HEADER.size))
        return Frame(Kind(kind), call_id, self._read(length))

    def _read(self, length: int) -> bytes:
        data = self._socket.recv(length, socket.MSG_WAITALL) if length else b""
        while len(data) < length:
            more = self._socket.recv(length - len(data), socket.MSG_WAITALL)
            if not more:
                raise EOFError
            data += more
        return data

    def receive_waiting(self) -> Iterator[Frame]:
        """The frames that have arrived, without waiting for more. Raises EOFError after the last of all."""
        while True:
            try:
                length = self._socket.recv_into(self._buffer, READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                length = 0
            if not length:
                raise EOFError
            self._unread += self._buffer[:length]
            yield from self._whole_frames()
            if length < READ_BYTES:
                return

    def _whole_frames(self) -> Iterator[Frame]:
        while len(self._unread) >= HEADER.size:
            kind, call_id, length = HEADER.unpack_from(self._unread)
            end = HEADER.size + length
            if len(self._unread) < end:
                return
            body = bytes(memoryview(self._unread)[HEADER.size : end])
            del self._unread[:end]
            yield Frame(Kind(kind), call_id, body)

    def close(self) -> None:
        self._socket.close()
