"""What signals mean to a worker process.

SIGUSR1 makes it quiet: it takes no more jobs. SIGTERM and SIGINT (Ctrl-C) end it, each further one in
more of a hurry: the first drains, the second interrupts with refund, the third leaves without waiting
for the store, and from then on the signal does what it does to any program.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT)
QUIET = signal.SIGUSR1


@contextmanager
def heeding(steps: Sequence[Callable[[], object]], quiet: Callable[[], object]) -> Iterator[None]:
    """While inside, take one of `steps` at each signal that ends, and `quiet` at that which makes quiet."""
    left = list(steps)

    def hasten(number: int, frame: Any) -> None:
        if len(left) == 1:
            # Whatever it hangs in: the next one ends it.
            for each in STOPPING:
                signal.signal(each, signal.SIG_DFL)
        left.pop(0)()

    before = {number: signal.signal(number, hasten) for number in STOPPING}
    before[QUIET] = signal.signal(QUIET, lambda number, frame: quiet())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
