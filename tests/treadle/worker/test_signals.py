"""What signals mean to a worker process."""

import os
import signal

from treadle.worker.signals import QUIET, STOPPING, heeding


def test_each_further_signal_is_in_more_of_a_hurry() -> None:
    """Whichever of those that end it is: drain, interrupt, leave."""
    calls: list[str] = []
    with heeding(
        [lambda: calls.append("drain"), lambda: calls.append("interrupt"), lambda: calls.append("leave")], print
    ):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert calls == ["drain", "interrupt", "leave"]


def test_after_the_last_step_a_signal_ends_any_program() -> None:
    """Also one that hangs."""
    with heeding([lambda: None], print):
        os.kill(os.getpid(), signal.SIGTERM)
        assert {signal.getsignal(number) for number in STOPPING} == {signal.SIG_DFL}


def test_a_worker_can_be_made_quiet() -> None:
    """As often as one likes, and it still ends in all its steps."""
    calls: list[str] = []
    with heeding([lambda: calls.append("drain")], lambda: calls.append("quiet")):
        for number in (QUIET, QUIET, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert calls == ["quiet", "quiet", "drain"]


def test_the_handlers_before_are_put_back() -> None:
    """Outside, a signal means what it meant."""
    before = [signal.getsignal(number) for number in (*STOPPING, QUIET)]
    with heeding([print], print):
        assert [signal.getsignal(number) for number in (*STOPPING, QUIET)] != before
    assert [signal.getsignal(number) for number in (*STOPPING, QUIET)] == before
