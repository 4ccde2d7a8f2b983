"""The run of one job, which ends in an Outcome and writes nothing."""

import asyncio
import json
from typing import Any

import pytest
from tests import apps

from treadle import codec
from treadle.errors import MemoryLimitExceeded, TaskTimeout
from treadle.job import Attempt, Job, Kind, Outcome, OutcomeKind, Progress
from treadle.pools.contract import reporting_to
from treadle.states import State
from treadle.task import Registry, Task
from treadle.worker import execution
from treadle.worker.execution import GATHER, Runner, Work, failure_of, install, run_packed, whole_payload

RUNNER = Runner(apps.app.registry, max_result_bytes=1000)


def job_of(task: Task[..., Any], *args: Any, **fields: Any) -> Job:
    payload = task.encode_arguments(args, {}, 10_000)
    fields = {"attempt": 1, "max_attempts": task.settings.max_attempts, "payload": payload, **fields}
    return Job(id="1", task=task.name, state=State.RUNNING, **fields)


def run(task: Task[..., Any], *args: Any, **fields: Any) -> Outcome:
    return RUNNER.run(Work(job_of(task, *args, **fields)))


def failure(outcome: Outcome) -> tuple[str, str]:
    assert outcome.failure is not None
    return outcome.failure.error_class, outcome.failure.message


def test_a_result_is_kept_as_json() -> None:
    """What the function returns, encoded."""
    assert run(apps.string_length, "abc") == Outcome.succeeded("3")


def test_a_dataclass_makes_the_round() -> None:
    """Rebuilt for the function, and kept from its result."""
    outcome = run(apps.mirror, apps.Point(1, 2))
    assert outcome.result is not None
    assert apps.mirror.decode_result(outcome.result) == apps.Point(2, 1)


def test_an_error_is_kept_in_words() -> None:
    """Class, message, and a traceback that begins in the user's function."""
    outcome = run(apps.fail, "no such user")
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.RAISED, None)
    assert failure(outcome) == ("builtins.ValueError", "no such user")
    assert outcome.failure is not None
    assert outcome.failure.traceback.splitlines()[1].strip().endswith("in fail")


def test_the_back_off_is_asked_while_attempts_are_left() -> None:
    """And not on the last one."""
    assert run(apps.fail_and_wait, attempt=2).retry_after_s == 3600
    assert run(apps.fail_and_wait, attempt=3).retry_after_s is None


@pytest.mark.parametrize("task", [apps.fail_with_infinite_backoff, apps.fail_with_nan_backoff], ids=lambda it: it.name)
def test_to_wait_for_ever_is_to_give_up(task: Any) -> None:
    """Whoever looks at the outcome sees that there is no further attempt."""
    assert run(task).retry_after_s is None


def test_a_back_off_that_fails_does_not_hide_the_error() -> None:
    """The reason stays, with a note, and there is no further attempt."""
    outcome = run(apps.fail_with_broken_backoff)
    assert outcome.retry_after_s is None
    assert failure(outcome) == ("builtins.ValueError", "first reason")
    assert outcome.failure is not None
    assert "its back-off rule raised RuntimeError('the rule is broken')" in outcome.failure.traceback


def test_a_retry_with_a_time_asks_no_rule() -> None:
    """Neither the back-off, which is broken here, nor `give_up_on`; it is an attempt like any that raised."""
    outcome = run(apps.ask_again, 2.5)
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.RAISED, 2.5)
    assert failure(outcome) == ("treadle.errors.Retry", "the task asked for another attempt after 2.5 s")
    assert run(apps.ask_again, 0).retry_after_s == 0


def test_a_retry_keeps_what_it_was_raised_from() -> None:
    """The error is the reason; that it is tried again is not."""
    outcome = run(apps.ask_again_because, 2.5)
    assert (failure(outcome), outcome.retry_after_s) == (("builtins.ConnectionError", "busy"), 2.5)
    assert outcome.failure is not None
    assert "in ask_again_because" in outcome.failure.traceback


def test_a_retry_without_a_time_asks_the_back_off() -> None:
    """Which is given the cause; `retry_on` has no say."""
    outcome = run(apps.ask_again_some_time)
    assert (failure(outcome), outcome.retry_after_s) == (("builtins.ConnectionError", "busy"), 7)


@pytest.mark.parametrize("task", [apps.ask_again, apps.ask_again_because], ids=lambda it: it.name)
def test_a_retry_on_the_last_attempt_is_the_end(task: Any) -> None:
    """The traceback says that no attempt was left."""
    outcome = run(task, 2.5, attempt=3)
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.RAISED, None)
    assert outcome.failure is not None
    assert "asked for another attempt, and none is left: max_attempts is 3" in outcome.failure.traceback


def test_a_snooze_is_an_outcome_of_its_own() -> None:
    """It has a time and no reason, on the last attempt as on any, of a coroutine as of a function."""
    assert run(apps.snooze, 30) == run(apps.snooze, 30, attempt=9) == Outcome.snoozed(30)
    assert asyncio.run(RUNNER.arun(Work(job_of(apps.snooze_soon, 30)))) == Outcome.snoozed(30)
    assert RUNNER.run(Work(job_of(apps.snooze_soon, 30))) == Outcome.snoozed(30)


def test_a_rejection_keeps_its_reason() -> None:
    """And where it comes from."""
    outcome = run(apps.reject, "no such account")
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.REJECTED, None)
    assert failure(outcome) == ("treadle.errors.Reject", "no such account")
    assert outcome.failure is not None
    assert "ValueError: not found" in outcome.failure.traceback


def test_a_part_of_a_map_may_raise_them_too() -> None:
    """For all its items: a part is one run."""
    items = codec.encode({"items": [1, -2, 3]})
    outcome = run(apps.reject_negative, 1, kind=Kind.PART, payload=items)
    assert (outcome.kind, failure(outcome)[1]) == (OutcomeKind.REJECTED, "-2 is negative")
    assert run(apps.snooze, 1, kind=Kind.PART, payload=items).kind is OutcomeKind.SNOOZED


@pytest.mark.parametrize(
    ("error", "wait_s"), [("OSError", 5), ("ConnectionResetError", None), ("ValueError", None), ("SystemExit", None)]
)
def test_the_classes_of_a_task_decide_what_is_tried_again(error: str, wait_s: float | None) -> None:
    """Those of `retry_on` and no others; `give_up_on` has the last word."""
    outcome = run(apps.fail_with, error)
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.RAISED, wait_s)


def test_the_classes_of_a_task_decide_on_limits_too() -> None:
    """In the worker's process."""
    job = job_of(apps.fail_with, "OSError")
    assert RUNNER.outcome_of_limit(job, TaskTimeout("after 5 s")).retry_after_s == 5
    assert RUNNER.outcome_of_limit(job, MemoryLimitExceeded("grew by 9 MB")).retry_after_s is None


def test_a_limit_that_was_passed_asks_the_back_off() -> None:
    """As an error does; with the kind that it is."""
    outcome = RUNNER.outcome_of_limit(job_of(apps.fail_and_wait, attempt=2), TaskTimeout("after 5 s"))
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.TIMED_OUT, 3600)
    assert failure(outcome) == ("treadle.errors.TaskTimeout", "after 5 s")
    last = RUNNER.outcome_of_limit(job_of(apps.fail_and_wait, attempt=3), MemoryLimitExceeded("grew by 9 MB"))
    assert (last.kind, last.retry_after_s) == (OutcomeKind.OUT_OF_MEMORY, None)


def test_a_limit_of_a_task_that_is_not_known_here_waits_as_is_usual() -> None:
    """The children may know it, and attempts are left."""
    job = Job(id="1", task="tests.elsewhere", state=State.RUNNING, payload="", attempt=1, max_attempts=2)
    wait_s = RUNNER.outcome_of_limit(job, TaskTimeout("after 5 s")).retry_after_s
    assert wait_s is not None
    assert 0.5 < wait_s < 2


def test_a_run_that_was_cancelled_here_ends_at_its_next_report() -> None:
    """Only that run of the job."""
    job = job_of(apps.count_to, 2)
    execution.cancelled_here.add(job.claim)
    try:
        assert failure(RUNNER.run(Work(job)))[0] == execution.CANCELLED_ERROR
        assert RUNNER.run(Work(job_of(apps.count_to, 2, token=5))).kind is OutcomeKind.SUCCEEDED
    finally:
        execution.cancelled_here.clear()


def test_a_task_that_is_not_known_is_told() -> None:
    """As an outcome of its own: another process may know it."""
    outcome = RUNNER.run(Work(Job(id="1", task="tests.by_nam", state=State.RUNNING, payload="")))
    assert outcome.kind is OutcomeKind.UNKNOWN_TASK
    assert failure(outcome)[1] == "no task is named 'tests.by_nam' here, did you mean 'tests.by_name'?"


def test_the_same_error_from_inside_a_function_is_the_functions() -> None:
    """It knows its task; it only raised the same class."""
    assert run(apps.raise_unknown_task).kind is OutcomeKind.RAISED


def test_a_task_is_found_by_its_old_name() -> None:
    """Jobs outlive names."""
    job = Job(id="1", task="tests.old_name", state=State.RUNNING, payload='{"args":[],"kwargs":{}}')
    assert RUNNER.run(Work(job)) == Outcome.succeeded('"here"')


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("damaged", "cannot read the stored JSON"),
        ('{"args":[],"kwargs":{}}', "missing a required argument: 'text'"),
        ('{"args":["a","b"],"kwargs":{}}', "too many positional arguments"),
        ("{}", "do not fit"),
        ("[]", "do not fit"),
        ("7", "do not fit"),
        ('{"args":[{"$treadle":"dict","value":[1]}],"kwargs":{}}', "cannot read the stored JSON"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.CALL, Kind.WHOLE])
def test_a_payload_that_does_not_fit_is_unfit(payload: str, reason: str, kind: Kind) -> None:
    """There is no use in another attempt; the reason is kept."""
    outcome = run(apps.string_length, "a", payload=payload, kind=kind)
    assert outcome.kind is OutcomeKind.UNFIT
    assert failure(outcome)[0] == "treadle.errors.PayloadError"
    assert reason in failure(outcome)[1]


@pytest.mark.parametrize("payload", ["damaged", "{}", "[]", '{"items":7}'])
def test_a_part_without_items_is_unfit(payload: str) -> None:
    """The same for parts."""
    assert run(apps.upper, "a", payload=payload, kind=Kind.PART).kind is OutcomeKind.UNFIT


def test_a_result_that_json_cannot_carry_fails_the_attempt() -> None:
    """With the path and the type."""
    outcome = run(apps.make_set)
    assert outcome.kind is OutcomeKind.RAISED
    assert failure(outcome)[0] == "treadle.errors.PayloadError"
    assert failure(outcome)[1].startswith('the result of tests.apps.make_set["rows"][1] is of type set')


def test_a_result_over_the_limit_fails_the_attempt() -> None:
    """With both sizes."""
    outcome = run(apps.make_text, 5000)
    assert failure(outcome)[0] == "treadle.errors.PayloadTooLarge"


def test_a_part_gives_a_list() -> None:
    """The task is called with each item."""
    outcome = run(apps.upper, "a", kind=Kind.PART, payload=codec.encode({"items": ["a", "b"]}))
    assert outcome == Outcome.succeeded('["A","B"]')


def test_a_whole_without_reduce_gathers() -> None:
    """Its result is the list of all results."""
    payload = whole_payload(['["A","B"]', "[]", '["C"]'])
    job = Job(id="1", task=GATHER, state=State.RUNNING, payload=payload, kind=Kind.WHOLE)
    assert RUNNER.run(Work(job)) == Outcome.succeeded('["A","B","C"]')


def test_a_whole_without_reduce_gathers_in_the_event_loop_too() -> None:
    """Where the parts are coroutines, their whole is run as one."""
    job = Job(id="1", task=GATHER, state=State.RUNNING, payload=whole_payload(["[1]"]), kind=Kind.WHOLE)
    assert asyncio.run(RUNNER.arun(Work(job))) == Outcome.succeeded("[1]")


def test_the_payload_of_a_whole_is_one_argument() -> None:
    """All results in one list, however the parts were cut."""
    assert json.loads(whole_payload([])) == {"args": [[]], "kwargs": {}}
    assert json.loads(whole_payload(["[]", "[[1],2]", '["]"]'])) == {"args": [[[1], 2, "]"]], "kwargs": {}}


def test_a_context_reports_all_it_was_told() -> None:
    """The last progress always, every message."""
    reports: list[Any] = []
    with reporting_to(reports.append):
        assert run(apps.count_to, 3) == Outcome.succeeded('"1"')
    assert reports[0] == Progress(1, 3, "step 1")
    assert Progress(3, 3, "step 3") in reports
    assert [report for report in reports if isinstance(report, str)] == ['{"counted":3}', '"done"']


def test_the_last_progress_of_a_failed_run_is_told() -> None:
    """How far it came is worth knowing."""
    reports: list[Any] = []
    with reporting_to(reports.append):
        assert run(apps.progress_and_fail).kind is OutcomeKind.RAISED
    assert reports == [Progress(1, 2), Progress(2, 2, "nearly")]


def test_an_async_task_runs_in_the_event_loop() -> None:
    """`arun` is `run` for a coroutine."""
    assert asyncio.run(RUNNER.arun(Work(job_of(apps.double_soon, 3)))) == Outcome.succeeded("6")
    assert RUNNER.run(Work(job_of(apps.double_soon, 3))) == Outcome.succeeded("6")


def test_an_interrupt_of_the_program_is_not_an_outcome() -> None:
    """KeyboardInterrupt belongs to whoever pressed the keys; SystemExit is the function's."""
    runner = Runner(_registry_of(interrupt, leave))
    with pytest.raises(KeyboardInterrupt):
        runner.run(Work(job_of(runner.registry.find(f"{__name__}.interrupt"))))
    outcome = runner.run(Work(job_of(runner.registry.find(f"{__name__}.leave"))))
    assert failure(outcome) == ("builtins.SystemExit", "3")


def interrupt() -> None:
    raise KeyboardInterrupt


def leave() -> None:
    raise SystemExit(3)


def _registry_of(*functions: Any) -> Registry:
    registry = Registry()
    for function in functions:
        registry.task(function)
    return registry


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("\udcff"), "\\udcff"),
        (Unreadable(), "(its message cannot be read)"),
        (ValueError("x" * 100_000), "x" * 32_000),
    ],
    ids=["surrogate", "unreadable", "long"],
)
def test_any_error_can_be_told(error: Exception, message: str) -> None:
    """Whatever its message holds, the failure can be kept."""
    told = failure_of(error)
    assert told.message == message
    assert len(codec.dump_plain(told)) < 100_000


def test_work_travels() -> None:
    """To a child, job and earlier attempts included."""
    work = Work(job_of(apps.upper, "a"), (Attempt(1, "w", 2, 3, OutcomeKind.RAISED, failure_of(ValueError("x"))),))
    assert execution._work.decode(work.packed()) == work


def test_a_job_that_has_travelled_is_run_by_the_runner_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No application is ever pickled."""
    monkeypatch.setattr(execution, "_installed", None)
    work = Work(job_of(apps.upper, "a"))
    with pytest.raises(RuntimeError, match="was not made ready to run jobs"):
        run_packed(work.packed())
    install(1, lambda runner: runner, RUNNER)
    assert Outcome.unpacked(run_packed(work.packed())) == Outcome.succeeded('"A"')
