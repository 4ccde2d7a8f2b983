"""From which queues a claim takes."""

from treadle.store.turns import turns, turns_around_paused


def test_without_a_pause_one_turn_serves_all_queues() -> None:
    """Or each queue of the worker has one, in its order."""
    assert turns((), 5) == [(None, 5)]
    assert turns(("mail", "default"), 5) == [("mail", 5), ("default", 5)]


def test_around_a_paused_queue_each_gets_its_share_first() -> None:
    """A second round takes what is left where others were quicker."""
    assert turns_around_paused((), 5, {"a": 3, "b": 0}) == [("a", 3), ("b", 0), ("a", 5), ("b", 5)]


def test_a_worker_of_some_queues_keeps_its_order() -> None:
    """Without those that have nothing to give."""
    assert turns_around_paused(("c", "b", "a"), 5, {"a": 2, "c": 3}) == [("c", 5), ("a", 5)]
