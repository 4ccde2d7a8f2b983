"""All log lines, written from events."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from treadle import events as facts
from treadle.events import Event, Events
from treadle.job import Failure, Outcome
from treadle.report.log import log_events, log_to_terminal, logger
from treadle.states import State
from treadle.testing.store_contract import make_job

JOB = make_job(id="7", task="reports.monthly", attempt=2)
RETRIED = make_job(id="7", task="reports.monthly", attempt=2, max_attempts=3)
ERROR = Failure("builtins.ValueError", "bad", "Traceback …")
LOST = Failure("treadle.errors.WorkerLost", "signal 9")
UNKNOWN = Failure("treadle.errors.UnknownTask", "no task is named 'a' here")
LIMIT = Failure("treadle.errors.TaskTimeout", "after 5 s")

LINES = [
    (facts.JobEnqueued(JOB), "DEBUG", "job 7 (reports.monthly) sent"),
    (facts.JobStarted(JOB, "w"), "DEBUG", "job 7 (reports.monthly) started, attempt 2"),
    (facts.JobEnded(JOB, Outcome.succeeded("1"), State.SUCCEEDED, "w"), "DEBUG", "job 7 (reports.monthly) succeeded"),
    (
        facts.JobEnded(JOB, Outcome.interrupted(), State.READY, "w"),
        "INFO",
        "job 7 (reports.monthly) interrupted; it will start again",
    ),
    (
        facts.JobEnded(JOB, Outcome.raised(ERROR, None), State.FAILED, "w"),
        "ERROR",
        "job 7 (reports.monthly) raised on attempt 2: ValueError: bad\nTraceback …",
    ),
    (
        facts.JobEnded(JOB, Outcome.timed_out(LIMIT, None), State.FAILED, "w"),
        "ERROR",
        "job 7 (reports.monthly) ran out of time on attempt 2: treadle.errors.TaskTimeout: after 5 s",
    ),
    (
        facts.JobEnded(RETRIED, Outcome.timed_out(LIMIT, 1.5), State.SCHEDULED, "w"),
        "WARNING",
        (
            "job 7 (reports.monthly) ran out of time on attempt 2 of 3, and is tried again in 1.5 s: "
            "treadle.errors.TaskTimeout: after 5 s"
        ),
    ),
    (
        facts.JobEnded(RETRIED, Outcome.out_of_memory(LIMIT, 0), State.SCHEDULED, "w"),
        "WARNING",
        (
            "job 7 (reports.monthly) ran out of memory on attempt 2 of 3, and is tried again in 0.0 s: "
            "treadle.errors.TaskTimeout: after 5 s"
        ),
    ),
    (
        facts.JobEnded(RETRIED, Outcome.raised(ERROR, 1), State.SCHEDULED, "w"),
        "INFO",
        "job 7 (reports.monthly) raised on attempt 2 of 3, and is tried again in 1.0 s: ValueError: bad",
    ),
    (
        facts.JobEnded(JOB, Outcome.snoozed(60), State.SCHEDULED, "w"),
        "DEBUG",
        "job 7 (reports.monthly) snoozes for 60.0 s",
    ),
    (
        facts.JobEnded(JOB, Outcome.snoozed(60), State.CANCELLED, "w"),
        "INFO",
        "job 7 (reports.monthly) was cancelled while it ran",
    ),
    (
        facts.JobEnded(RETRIED, Outcome.rejected(ERROR), State.FAILED, "w"),
        "WARNING",
        "job 7 (reports.monthly) was rejected on attempt 2: bad",
    ),
    (
        facts.JobEnded(JOB, Outcome.rejected(ERROR), State.FAILED, "w"),
        "WARNING",
        "job 7 (reports.monthly) was rejected on attempt 2: bad",
    ),
    (
        facts.JobEnded(JOB, Outcome.cancelled(), State.CANCELLED, "w"),
        "INFO",
        "job 7 (reports.monthly) was cancelled while it ran",
    ),
    (
        facts.JobEnded(RETRIED, Outcome.raised(ERROR, 1), State.CANCELLED, "w"),
        "INFO",
        "job 7 (reports.monthly) was cancelled while it ran",
    ),
    (
        facts.JobEnded(JOB, Outcome.unknown_task(UNKNOWN), State.SCHEDULED, "w"),
        "WARNING",
        "job 7 waits: no task is named 'a' here",
    ),
    (
        facts.JobEnded(JOB, Outcome.unknown_task(UNKNOWN), State.CANCELLED, "w"),
        "INFO",
        "job 7 (reports.monthly) was cancelled while it ran",
    ),
    (
        facts.JobEnded(JOB, Outcome.unknown_task(UNKNOWN), State.FAILED, "w"),
        "ERROR",
        "job 7 (reports.monthly) has no task on attempt 2: treadle.errors.UnknownTask: no task is named 'a' here",
    ),
    (
        facts.JobEnded(JOB, Outcome.crashed(LOST), State.READY, "w"),
        "WARNING",
        "job 7 (reports.monthly) crashed (1 of at most 3), and starts again: treadle.errors.WorkerLost: signal 9",
    ),
    (
        facts.JobEnded(JOB, Outcome.crashed(LOST), State.FAILED, "w"),
        "ERROR",
        "job 7 (reports.monthly) crashed on attempt 2: treadle.errors.WorkerLost: signal 9",
    ),
    (facts.JobRetried(JOB), "INFO", "job 7 (reports.monthly) is sent once more"),
    (
        facts.NobodyServes("mail"),
        "WARNING",
        "no live worker serves the queue 'mail', so what is sent there waits: start one, as with `treadle worker run`",
    ),
    (
        facts.LateResultRefused(JOB, "w"),
        "WARNING",
        "late result of job 7 (reports.monthly) refused: its claim was no longer valid",
    ),
    (facts.JobsRescued("w", 3), "WARNING", "worker w is dead; 3 of its jobs were taken back"),
    (facts.JobsExpired(("7",)), "WARNING", "1 job has failed that had not begun in time: 7"),
    (facts.JobsExpired(("7", "8")), "WARNING", "2 jobs have failed that had not begun in time: 7, 8"),
    (
        facts.QueuePaused("mail"),
        "WARNING",
        "queue mail is paused: its jobs wait until it is resumed, and what runs goes on",
    ),
    (facts.QueueResumed("mail"), "INFO", "queue mail is resumed"),
    (
        facts.JobsForgotten(3, 1),
        "INFO",
        "3 jobs were forgotten, as somebody asked by their labels; 1 with these have not ended, and were left",
    ),
    (facts.WorkerStarted("w", "process", {"processes": 2}), "INFO", "worker w (process) takes jobs: 2 processes"),
    (facts.WorkerDraining("w", 3), "INFO", "worker w takes no more jobs and waits for 3"),
    (
        facts.WorkerQuiet("w", 3),
        "INFO",
        "worker w is quiet: it takes no more jobs, 3 go on, and it ends when it is stopped",
    ),
    (
        facts.LeaseLost("w"),
        "WARNING",
        "worker w was taken for dead and its jobs were taken back (was this machine asleep?); it goes on",
    ),
    (
        facts.StoreAway("w", ValueError("locked")),
        "ERROR",
        "the store is away: ValueError: locked; no job is taken until it is back, and what has ended is kept",
    ),
    (facts.StoreBack("w", 12.34), "INFO", "the store is back after 12.3 s"),
    (
        facts.MessagesDropped("w", 3),
        "WARNING",
        "3 messages of jobs were dropped: the store was away, and more were sent than are kept",
    ),
    (
        facts.JobStuck(JOB, "w", 3600, "File …", is_replaced=True),
        "ERROR",
        (
            "job 7 (reports.monthly) is stuck: it has run for 3600 s and cannot be ended, so another job gets its "
            "slot; it is here:\nFile …"
        ),
    ),
    (
        facts.StuckJobEnded(JOB, "w", 3700),
        "WARNING",
        "job 7 (reports.monthly), which was stuck, has ended after 3700 s",
    ),
    (facts.WorkerStopped("w"), "INFO", "worker w has stopped"),
    (facts.DutyFailed("prune", ValueError("bad")), "ERROR", "prune failed and will be tried again: ValueError: bad"),
]


@contextmanager
def without_logging() -> Iterator[None]:
    """A program that configured no logging. Not a fixture: pytest's own handlers come after those."""
    root = logging.getLogger()
    handlers, own, level = root.handlers, list(logger.handlers), logger.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers, logger.handlers[:] = handlers, own
        logger.setLevel(level)


@pytest.mark.parametrize(("event", "level", "line"), LINES, ids=lambda value: type(value).__name__)
def test_each_event_has_its_line(caplog: pytest.LogCaptureFixture, event: Event, level: str, line: str) -> None:
    """With the level of its weight."""
    events = Events()
    log_events(events)
    with caplog.at_level(logging.DEBUG, "treadle"):
        events.announce(event)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, line)]


def test_every_event_is_covered() -> None:
    """A new event needs a line."""
    assert {type(event) for event, _, _ in LINES} == set(Event.__subclasses__())


def test_a_worker_process_logs_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the application configured no logging, once."""
    with without_logging():
        log_to_terminal()
        log_to_terminal()
        logger.info("hello")
    assert capsys.readouterr().err.count("INFO hello") == 1


def test_logging_of_the_application_is_left_alone() -> None:
    """Where it has any, no handler is added."""
    with without_logging():
        logging.getLogger().addHandler(logging.NullHandler())
        log_to_terminal()
        assert logger.handlers == []


def test_lines_may_be_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, with what the event is about; other records of the logger too."""
    events = Events()
    log_events(events)
    with without_logging():
        log_to_terminal("json")
        events.announce(facts.JobEnded(JOB, Outcome.raised(ERROR, None), State.FAILED, "w"))
        events.announce(facts.StoreAway("w", ValueError("locked")))
        try:
            raise ZeroDivisionError("by zero")
        except ZeroDivisionError:
            logger.exception("a listener raised")
    ended, away, raised = map(json.loads, capsys.readouterr().err.splitlines())
    about = {"event": "JobEnded", "job_id": "7", "task": "reports.monthly", "outcome": "raised", "state": "failed"}
    assert about.items() <= ended.items()
    assert (away["level"], away["error"]) == ("ERROR", "locked")
    assert "ZeroDivisionError: by zero" in raised["traceback"]


def test_a_line_names_a_few_of_many(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand ids are no line for a person."""
    events = Events()
    log_events(events)
    events.announce(facts.JobsExpired(tuple(map(str, range(1000)))))
    assert caplog.messages == ["1000 jobs have failed that had not begun in time: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"]
