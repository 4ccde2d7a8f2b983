"""Leave to start tasks: a child takes one permit before each task of a batch, and skips a task without one.

Its owner may take permits back at any time: so many tasks from the tail of the batch will never start, and exactly
so many. What is left when a child dies tells how many it had not started. A pipe is the semaphore: a byte is a
permit, and the kernel gives each byte to one reader only. (An eventfd is no quicker, 0.44 against 0.50 µs, and there
is none on macOS.)

After taking back, the owner grants nothing until the child has answered a fence: a child that has yet to skip tasks
would start them with the new permits.
"""

import contextlib
import fcntl
import os
import sys
import termios

MOST_AT_ONCE = 4096
"""More than any batch has, and no more than the smallest pipe holds."""


class Permits:
    """The owner's side: both ends of the pipe."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def grant(self, count: int) -> None:
        # The child may be dead and have closed its end; the owner holds one itself, so this cannot fail for that.
        os.write(self._writer, b"." * count)

    def take_back(self) -> int:
        """Take all permits that the child has not taken; returns how many."""
        with contextlib.suppress(BlockingIOError):
            return len(os.read(self.reader, MOST_AT_ONCE))
        return 0

    @property
    def left(self) -> int:
        """How many the child has not taken: so many of its last tasks have not started."""
        return int.from_bytes(fcntl.ioctl(self.reader, termios.FIONREAD, bytes(4)), sys.byteorder)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


def take(reader: int) -> bool:
    """The child's side: whether there was a permit."""
    try:
        os.read(reader, 1)
    except BlockingIOError:
        return False
    return True
