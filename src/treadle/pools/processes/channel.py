"""Frames on a private socket: a kind, a small body, and open files that travel along.

No frame is longer than 64 KB; what is longer lies in a segment of the arena, whose file travels with the frame. So a
frame is written by one call, whole or not at all.
"""

import contextlib
import socket
import struct
import time
from array import array
from collections import deque
from enum import IntEnum

HEADER = struct.Struct("<BBfI")
MAX_BODY_BYTES = 64 * 1024 - HEADER.size
_READ_BYTES = 256 * 1024
_FD_BYTES = array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(64 * _FD_BYTES)
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Kind(IntEnum):
    """What a frame is."""

    # Between an owner and its zygote
    PREPARE = 1
    """To the zygote, once: how to make itself ready."""
    READY = 2
    """From a zygote or a child, once: it may be used."""
    BROKEN = 3
    """From a zygote or a child, once: an error has kept it from making itself ready."""
    UNSAFE = 4
    """From the zygote, once: what was preloaded has started threads or opened sockets, so it will not fork."""
    FORK = 5
    """To the zygote: make a child, with these files as its socket and its permits."""
    FORKED = 6
    """From the zygote: the number of a child, and its process id."""
    KILL = 7
    """To the zygote: end a child, and what it has started."""
    DIED = 8
    """From the zygote: the number of a child, and how it ended. It was reaped."""
    # Between an owner and a child
    BATCH = 10
    """To the child: tasks to run, one after the other."""
    FENCE = 11
    """To the child: answer when everything before this is done or skipped."""
    FENCED = 12
    """From the child: the answer."""
    SEGMENT = 13
    """To the child: the number of a segment, with its file."""
    FORGET = 14
    """To the child: the numbers of segments that nobody will name again."""
    SPARE = 19
    """To the child: the number of a segment that it may fill with one large result."""
    STARTED = 15
    """From the child: a task has started that has limits, or that nothing stood before; how much memory it has so far."""
    REPORT = 16
    """From the child: a value that the running task reported."""
    RESULT = 17
    """From the child: what the task returned."""
    ERROR = 18
    """From the child: what the task raised."""


IN_SEGMENT = 1
"""Flag: the body says where in the segment, whose file came along, the value lies."""
HOLDS_SEGMENT = 2
"""Flag: something of the task's own segment is still in use in the child."""
IN_SPARE = 4
"""Flag: the body says where in the segment that the child was lent the value lies."""


Frame = tuple[int, int, float, bytes]
"""Kind, flags, how many seconds the task ran (in a frame that ends it), body. A plain tuple: there are many."""


class Channel:
    """One end of the socket. One thread sends at a time, one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        # Kept: a new buffer of this size would be a map and an unmap for each frame.
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._rest = b""
        self._frames: deque[Frame] = deque()
        self.fds: deque[int] = deque()
        """The files that came along and were not taken yet, in the order of their frames."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(
        self, kind: int, body: bytes = b"", *, flags: int = 0, seconds: float = 0.0, fds: tuple[int, ...] = ()
    ) -> None:
        """Write a frame, waiting for the other side to read. Raises OSError where it is gone."""
        data = HEADER.pack(kind, flags, seconds, len(body)) + body
        if fds:
            sent = socket.send_fds(self._socket, [data], list(fds))
            data = data[sent:]
        if data:
            self._socket.sendall(data)

    def receive(self, spin_s: float = 0.0) -> Frame:
        """Wait for a frame. Raises EOFError where the other side is gone.

        `spin_s`: how long to look again and again before sleeping: to be woken costs both sides more.
        """
        if self._frames:
            return self._frames.popleft()
        until_s = time.perf_counter() + spin_s
        while spin_s and not self._frames and time.perf_counter() < until_s:
            self._read(socket.MSG_DONTWAIT)
        while not self._frames:
            self._read(0)
        return self._frames.popleft()

    def receive_waiting(self) -> list[Frame]:
        """The frames that have arrived, without waiting; with EOFError where there is none and never will be."""
        try:
            while self._read(socket.MSG_DONTWAIT):
                pass
        except EOFError:
            if not self._frames:
                raise
        frames, self._frames = self._frames, deque()
        return list(frames)

    def _read(self, how: int) -> bool:
        """Read once; returns whether there may be more. Raises EOFError."""
        try:
            length, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], _ANCILLARY_BYTES, how | _CLOSE_ON_EXEC)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            length, ancillary = 0, []
        if not length:
            raise EOFError
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds.extend(array("i", data[: len(data) - len(data) % _FD_BYTES]))
        data = self._buffer[:length].tobytes()
        self._cut(self._rest + data if self._rest else data)
        # The kernel ends a read behind a frame with files, whatever follows.
        return length == _READ_BYTES or bool(ancillary)

    def _cut(self, data: bytes) -> None:
        """Cut what was read into frames, and keep the rest."""
        start, length, size_of_header = 0, len(data), HEADER.size
        unpack, append = HEADER.unpack_from, self._frames.append
        while length - start >= size_of_header:
            kind, flags, seconds, size = unpack(data, start)
            body = start + size_of_header
            if body + size > length:
                break
            start = body + size
            append((kind, flags, seconds, data[body:start]))
        self._rest = data[start:]

    def hang_up(self) -> None:
        """Say that nothing more will be sent; what the other side still sends can be read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        while self.fds:
            socket.close(self.fds.popleft())
        self._socket.close()
