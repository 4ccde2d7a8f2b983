"""The rows of the store, and how a run changes one."""

import re
from typing import Any

import pytest

from treadle.clock import US_PER_S
from treadle.events import JobEnqueued
from treadle.job import Claim, Ending, Failure, Job, Outcome, OutcomeKind, Progress, new_id
from treadle.states import State

NOW_US = 1_800_000_000_000_000
ERROR = Failure("builtins.ValueError", "bad", "Traceback …")


def running(**fields: Any) -> Job:
    fields = {"attempt": 1, "token": 1, "worker_id": "w", "started_at_us": NOW_US, "enqueued_at_us": NOW_US, **fields}
    return Job(id="1", task="t", payload="", state=State.RUNNING, **fields)


def end(job: Job, outcome: Outcome, after_s: float = 0, unknown_task_s: float = 60) -> Ending:
    return Ending.of(job, outcome, NOW_US + round(after_s * US_PER_S), unknown_task_s)


def test_ids_are_uuids_of_version_7() -> None:
    """As RFC 9562 says, so that any tool reads them."""
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", new_id())


def test_ids_sort_by_the_time_of_their_making() -> None:
    """The first 48 bits are the time in milliseconds, so a later id is never smaller there."""
    ids = [new_id() for _ in range(2000)]
    stamps = [id_[:13] for id_ in ids]
    assert stamps == sorted(stamps)
    assert len(set(ids)) == len(ids)


def test_a_progress_knows_its_fraction() -> None:
    """Between 0 and 1, and None without a total."""
    assert Progress(1, 4).fraction == 0.25
    assert Progress(9, 4).fraction == 1.0
    assert Progress(1).fraction is None
    assert Progress(0, 0).fraction is None


def test_a_failure_reads_like_an_error() -> None:
    """Builtins are shown without their module."""
    assert str(ERROR) == "ValueError: bad"
    assert str(Failure("shop.errors.NoStock", "none left")) == "shop.errors.NoStock: none left"


def test_a_claim_is_the_id_with_the_token() -> None:
    """Two claims of one job differ."""
    assert running(token=4).claim == Claim("1", 4)


def test_an_outcome_travels() -> None:
    """Outcomes come back from a child as they were."""
    outcome = Outcome.raised(ERROR, 2.5)
    assert Outcome.unpacked(outcome.packed()) == outcome


def test_rows_are_frozen() -> None:
    """Who wants another row makes one."""
    with pytest.raises(AttributeError):
        running().state = State.READY  # type: ignore[misc]


def test_success_is_final() -> None:
    """A run that succeeded ends the job now."""
    ending = end(running(), Outcome.succeeded("1"), after_s=2)
    assert (ending.state, ending.finished_at_us, ending.failure) == (State.SUCCEEDED, NOW_US + 2_000_000, None)


def test_an_error_with_attempts_left_is_tried_again() -> None:
    """The job waits as long as its back-off said, with the attempt counted and no reason kept."""
    ending = end(running(max_attempts=2), Outcome.raised(ERROR, 1.5))
    assert (ending.state, ending.run_at_us) == (State.SCHEDULED, NOW_US + 1_500_000)
    assert (ending.attempt, ending.failure, ending.finished_at_us) == (1, None, None)


def test_the_last_attempt_fails_the_job() -> None:
    """Whatever the back-off said."""
    assert end(running(attempt=2, max_attempts=2), Outcome.raised(ERROR, 1.5)).state is State.FAILED


def test_a_back_off_that_gives_up_fails_the_job() -> None:
    """None means that there is no further attempt, although some are left."""
    ending = end(running(max_attempts=9), Outcome.raised(ERROR, None))
    assert (ending.state, ending.failure) == (State.FAILED, ERROR)


@pytest.mark.parametrize("wait_s", [float("inf"), float("nan"), 1e300])
def test_a_wait_without_end_is_an_ending_all_the_same(wait_s: float) -> None:
    """A back-off that answers with no usable time cannot keep a job from ending."""
    ending = end(running(max_attempts=9), Outcome.raised(ERROR, wait_s))
    assert ending.state in (State.FAILED, State.SCHEDULED)
    assert abs(ending.run_at_us) < 2**63


@pytest.mark.parametrize("make", [Outcome.timed_out, Outcome.out_of_memory], ids=lambda make: make.__name__)
def test_a_limit_that_was_passed_counts_as_an_error(make: Any) -> None:
    """Tried again while attempts are left, also where no crash is allowed; then the job fails with it."""
    again = end(running(max_attempts=2, max_crashes=0), make(ERROR, 1.5))
    assert (again.state, again.attempt, again.crashes) == (State.SCHEDULED, 1, 0)
    last = end(running(), make(ERROR, None))
    assert (last.state, last.failure) == (State.FAILED, ERROR)


def test_a_snooze_costs_no_attempt() -> None:
    """The job waits as long as it said, also on its only attempt and where no crash is allowed, with no reason kept."""
    ending = end(running(max_crashes=0, crashes=1), Outcome.snoozed(1.5))
    assert (ending.state, ending.run_at_us) == (State.SCHEDULED, NOW_US + 1_500_000)
    assert (ending.attempt, ending.crashes, ending.failure, ending.finished_at_us) == (0, 1, None, None)


def test_the_longest_snooze_can_be_kept() -> None:
    """As a number of microseconds that has 64 bits."""
    assert NOW_US < end(running(), Outcome.snoozed(1e300)).run_at_us < 2**63


def test_a_rejected_job_fails_at_once() -> None:
    """With its reason, whatever attempts are left."""
    ending = end(running(max_attempts=9), Outcome.rejected(ERROR))
    assert (ending.state, ending.attempt, ending.failure) == (State.FAILED, 1, ERROR)


def test_a_word_of_a_newer_version_can_be_read() -> None:
    """Its attempts are in the same store while workers are replaced; what is no word at all is refused."""
    assert OutcomeKind("teleported") is OutcomeKind.OTHER
    with pytest.raises(ValueError, match="7 is not a valid OutcomeKind"):
        OutcomeKind(7)


def test_a_cancelled_run_is_final_and_has_no_reason() -> None:
    """Whatever attempts are left."""
    ending = end(running(max_attempts=9), Outcome.cancelled(), after_s=2)
    assert (ending.state, ending.finished_at_us, ending.failure) == (State.CANCELLED, NOW_US + 2_000_000, None)


@pytest.mark.parametrize("max_crashes", [0, 3])
@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.interrupted(),
        Outcome.crashed(ERROR),
        Outcome.raised(ERROR, 1.0),
        Outcome.snoozed(1.0),
        Outcome.unknown_task(ERROR),
    ],
)
def test_a_job_that_was_to_be_cancelled_does_not_run_again(outcome: Outcome, max_crashes: int) -> None:
    """Instead of what would have followed; a crash is still counted."""
    job = running(max_attempts=9, max_crashes=max_crashes, cancel_requested_at_us=NOW_US)
    ending = end(job, outcome)
    assert (ending.state, ending.failure, ending.outcome) == (State.CANCELLED, None, outcome)
    assert Ending.of_lost_worker(job, NOW_US).state is State.CANCELLED


def test_an_answer_stands_although_a_cancel_was_asked_for() -> None:
    """A value, the error of a last attempt, a rejection, a limit that was passed, arguments that do not fit."""
    job = running(cancel_requested_at_us=NOW_US)
    assert end(job, Outcome.succeeded("1")).state is State.SUCCEEDED
    answers = (
        Outcome.raised(ERROR, None),
        Outcome.rejected(ERROR),
        Outcome.timed_out(ERROR, None),
        Outcome.unfit(ERROR),
    )
    for outcome in answers:
        assert (end(job, outcome).state, end(job, outcome).failure) == (State.FAILED, ERROR)


def test_a_job_tells_the_limits_that_there_are() -> None:
    """As a pool takes them."""
    assert running().limits == {}
    assert running(timeout_s=5, cores=2).limits == {"timeout_s": 5, "cores": 2}


def test_an_unfit_job_fails_at_once() -> None:
    """There is no use in another attempt."""
    assert end(running(max_attempts=9), Outcome.unfit(ERROR)).state is State.FAILED


def test_an_interrupt_is_refunded() -> None:
    """The job is ready again, with neither attempt nor crash counted."""
    ending = end(running(crashes=1), Outcome.interrupted())
    assert (ending.state, ending.attempt, ending.crashes) == (State.READY, 0, 1)


def test_an_interrupt_fails_a_job_that_may_run_once() -> None:
    """With `max_crashes=0` a job that has started never runs again; one that has not is refunded."""
    failed = end(running(max_crashes=0), Outcome.interrupted())
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert failed.failure.error_class == "treadle.errors.WorkerLost"
    assert end(running(max_crashes=0, started_at_us=None), Outcome.interrupted()).state is State.READY


def test_a_crash_is_counted_apart_from_attempts() -> None:
    """The attempt is refunded and the crash counted, until there were too many."""
    first = end(running(max_crashes=1), Outcome.crashed(ERROR))
    assert (first.state, first.attempt, first.crashes) == (State.READY, 0, 1)
    second = end(running(max_crashes=1, crashes=1), Outcome.crashed(ERROR))
    assert (second.state, second.crashes) == (State.FAILED, 2)
    assert second.failure is not None
    assert second.failure.error_class == "treadle.errors.WorkerLost"


def test_a_lost_worker_is_a_crash_with_its_name() -> None:
    """The reason names the worker."""
    ending = Ending.of_lost_worker(running(max_crashes=0, worker_id="w-7"), NOW_US)
    assert ending.failure is not None
    assert ending.failure.error_class == "treadle.errors.WorkerLost"
    assert ending.failure.message.startswith("worker w-7 died while the job ran")


def test_an_unknown_task_waits_ever_longer() -> None:
    """The attempt is refunded, and each wait is as long as the job is old, within bounds."""
    waits = []
    for age_s in (0, 10, 10_000):
        ending = end(running(), Outcome.unknown_task(ERROR), after_s=age_s, unknown_task_s=86_400)
        assert (ending.state, ending.attempt) == (State.SCHEDULED, 0)
        waits.append((ending.run_at_us - NOW_US) / US_PER_S - age_s)
    assert waits == [2, 10, 300]


def test_an_unknown_task_fails_after_a_day() -> None:
    """Or however long the setting says."""
    ending = end(running(), Outcome.unknown_task(ERROR), after_s=86_400, unknown_task_s=86_400)
    assert (ending.state, ending.failure) == (State.FAILED, ERROR)


def test_an_unknown_task_waits_anew_when_it_is_sent_once_more() -> None:
    """Its age counts from then: somebody has put right what was wrong, and other workers may not have it yet."""
    job = running(enqueued_at_us=NOW_US - 90_000 * US_PER_S, redriven_at_us=NOW_US)
    ending = end(job, Outcome.unknown_task(ERROR), unknown_task_s=86_400)
    assert (ending.state, ending.run_at_us) == (State.SCHEDULED, NOW_US + 2 * US_PER_S)


def test_every_kind_of_outcome_has_an_ending() -> None:
    """No outcome is forgotten."""
    for kind in OutcomeKind:
        assert end(running(), Outcome(kind, failure=ERROR)).state is not State.RUNNING


def test_a_repr_of_a_job_shows_neither_arguments_nor_results() -> None:
    """A repr ends up in logs: also that of what a job is in, and what the library Rich makes of it."""
    job = Job(id="1", task="t", state=State.SUCCEEDED, payload='["hunter2"]', result='"hunter2"')
    told = [repr(job), repr([job]), repr(JobEnqueued(job)), repr(job.__rich_repr__())]
    assert all(job.id in text and "hunter2" not in text for text in told)
