"""The states and their transitions."""

import pytest

from treadle.job import Ending, Failure, Job, Outcome
from treadle.states import FINISHED, LIVE, NOT_STARTED, REDRIVEN, TRANSITIONS, State, is_allowed

ERROR = Failure("builtins.ValueError", "bad")
OUTCOMES = [
    Outcome.succeeded("1"),
    Outcome.raised(ERROR, 1.0),
    Outcome.raised(ERROR, None),
    Outcome.timed_out(ERROR, 1.0),
    Outcome.out_of_memory(ERROR, 1.0),
    Outcome.snoozed(1.0),
    Outcome.rejected(ERROR),
    Outcome.cancelled(),
    Outcome.unfit(ERROR),
    Outcome.crashed(ERROR),
    Outcome.interrupted(),
    Outcome.unknown_task(ERROR),
]


def test_the_final_states_are_left_by_a_redrive_alone() -> None:
    """A finished job stays as it is, unless somebody sends it once more; what has succeeded stays for good."""
    ways = [t for t in TRANSITIONS if t.source in FINISHED]
    assert {t.verb for t in ways} == {"redrive"}
    assert {t.source for t in ways} == REDRIVEN == FINISHED - {State.SUCCEEDED}


def test_every_state_can_be_reached() -> None:
    """There is a way into each state."""
    assert {t.target for t in TRANSITIONS} == set(State)


def test_every_live_state_can_be_left() -> None:
    """No live state is a dead end."""
    assert {t.source for t in TRANSITIONS} - {None} >= LIVE


def test_no_transition_is_listed_twice() -> None:
    """A verb, a source and a target make one line."""
    assert len(set(TRANSITIONS)) == len(TRANSITIONS)


def test_finished_is_what_the_set_says() -> None:
    """`is_finished` holds of the final states and of no other."""
    assert {state for state in State if state.is_finished} == FINISHED
    assert LIVE - {State.RUNNING} == NOT_STARTED


def test_a_state_is_its_word() -> None:
    """States are strings: they travel and are kept as their words."""
    assert State("ready") is State.READY
    assert f"{State.SUCCEEDED}" == "succeeded"


def test_only_listed_ways_are_allowed() -> None:
    """`is_allowed` is the table, for a new job too."""
    assert is_allowed(None, State.READY)
    assert is_allowed(State.RUNNING, State.SUCCEEDED)
    assert not is_allowed(State.READY, State.SUCCEEDED)
    assert not is_allowed(None, State.RUNNING)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: str(outcome.kind))
@pytest.mark.parametrize("max_crashes", [0, 3])
def test_every_ending_is_an_allowed_way(outcome: Outcome, max_crashes: int) -> None:
    """Whatever a run ends in, the job takes a way of the table."""
    job = Job(id="1", task="t", state=State.RUNNING, payload="", attempt=1, max_attempts=2, max_crashes=max_crashes)
    for unknown_task_s in (0, 60):
        assert is_allowed(State.RUNNING, Ending.of(job, outcome, 0, unknown_task_s).state)
