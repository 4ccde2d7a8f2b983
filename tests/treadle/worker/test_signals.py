"""What SIGTERM and SIGINT mean to a worker process."""

import os
import signal

from treadle.worker.signals import STOPPING, stopping


def test_the_first_signal_drains_and_the_next_interrupts() -> None:
    """Whichever they are."""
    calls: list[bool] = []
    with stopping(calls.append):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert calls == [False, True, True]


def test_the_handlers_before_are_put_back() -> None:
    """Outside, a signal means what it meant."""
    before = [signal.getsignal(number) for number in STOPPING]
    with stopping(lambda at_once: None):
        assert [signal.getsignal(number) for number in STOPPING] != before
    assert [signal.getsignal(number) for number in STOPPING] == before
