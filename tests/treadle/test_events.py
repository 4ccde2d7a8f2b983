"""The facts that the machine announces."""

from treadle.events import Event, Events, WorkerStopped

FACT = WorkerStopped("w")


def test_every_listener_hears_every_event() -> None:
    """In the thread that announces, before `announce` returns."""
    events, heard, also_heard = Events(), list[Event](), list[Event]()
    events.subscribe(heard.append)
    events.subscribe(also_heard.append)
    events.announce(FACT)
    assert heard == also_heard == [FACT]


def test_a_listener_can_leave() -> None:
    """What `subscribe` returns ends it."""
    events, heard = Events(), list[Event]()
    leave = events.subscribe(heard.append)
    leave()
    events.announce(FACT)
    assert heard == []


def test_a_listener_may_leave_while_it_listens() -> None:
    """The others hear the event all the same."""
    events, heard = Events(), list[Event]()
    leave = events.subscribe(lambda event: leave())
    events.subscribe(heard.append)
    events.announce(FACT)
    assert heard == [FACT]


def test_a_listener_that_fails_harms_nobody() -> None:
    """Whoever announces goes on, and the other listeners hear the event: a listener is a guest."""
    events, heard = Events(), list[Event]()

    def fail(event: Event) -> None:
        raise RuntimeError("a listener is broken")

    events.subscribe(fail)
    events.subscribe(heard.append)
    events.announce(FACT)
    assert heard == [FACT]
