"""How a worker process begins."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import jobs_app

from treadle.errors import StoreDamaged, StoreError, StoreLocked
from treadle.events import Event, StoreAway, StoreBack
from treadle.worker.process import once_possible


def test_it_waits_for_a_store_that_is_away(tmp_path: Path) -> None:
    """And says so once, and once more when it is there."""
    worker, events = jobs_app(tmp_path).worker(), list[Event]()
    errors = [StoreLocked("held"), StoreLocked("held still")]

    def make() -> Any:
        if errors:
            raise errors.pop(0)
        return worker

    assert once_possible(make, events.append) is worker
    assert [type(event) for event in events] == [StoreAway, StoreBack]


@pytest.mark.parametrize("error", [StoreDamaged("not a database"), StoreError("something else")], ids=repr)
def test_what_does_not_pass_by_itself_is_raised(error: StoreError) -> None:
    """At once, and nobody is told that the store is away."""
    events: list[Event] = []

    def make() -> Any:
        raise error

    with pytest.raises(StoreError) as caught:
        once_possible(make, events.append)
    assert (caught.value, events) == (error, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_waiting(number: int) -> None:
    """There is nothing to drain yet."""

    def make() -> Any:
        os.kill(os.getpid(), number)
        raise StoreLocked("held")

    assert once_possible(make, lambda event: None) is None
