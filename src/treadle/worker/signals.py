"""What SIGTERM and SIGINT mean to a worker process: the first drains, the second interrupts."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping(stop: Callable[[bool], None]) -> Iterator[None]:
    """While inside, call `stop(False)` at the first signal and `stop(True)` at each further one."""
    received = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal received
        received += 1
        stop(received > 1)

    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
