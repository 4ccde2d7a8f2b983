"""Jobs are forgotten by their labels."""

from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import jobs_app

from treadle import JobHandle, ResultExpired, RetryRefused, Treadle, forgetting
from treadle.events import Event, JobsForgotten
from treadle.states import State
from treadle.store.contract import Forgotten

ACME = {"tenant": "acme"}


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


def sent(app: Treadle, count: int, **labels: str) -> list[JobHandle[Any]]:
    task = apps.string_length.options(labels=labels)
    return app.send_many([task.bind("Ann") for _ in range(count)])


def test_the_finished_jobs_with_all_these_labels_are_forgotten(app: Treadle) -> None:
    """Others are left as they are, also those that have one of two labels."""
    (job,), (other,) = sent(app, 1, tenant="acme", user="7"), sent(app, 1, tenant="acme")
    app.run_pending()
    assert app.forget(labels={**ACME, "user": "7"}) == Forgotten(1, 0)
    assert (job.refresh().row.is_forgotten, other.refresh().result()) == (True, 3)


def test_what_has_not_ended_is_left_and_counted_apart(app: Treadle) -> None:
    """To be forgotten by the next call, after its end; what was forgotten before does not count again."""
    sent(app, 2, **ACME)
    app.run_pending()
    waiting = sent(app, 1, **ACME)[0]
    assert app.forget(labels=ACME) == Forgotten(2, 1)
    waiting.cancel()
    assert app.forget(labels=ACME) == Forgotten(1, 0)
    assert app.forget(labels=ACME) == Forgotten()


def test_a_forgotten_job_has_no_result_and_is_not_retried(app: Treadle) -> None:
    """Both say why; that it has succeeded or was cancelled is still known."""
    (job,) = sent(app, 1, **ACME)
    app.run_pending()
    (other,) = sent(app, 1, **ACME)
    other.cancel()
    app.forget(labels=ACME)
    with pytest.raises(ResultExpired, match=f"the result of job {job.id} .* was forgotten, with what it was given"):
        job.result()
    with pytest.raises(RetryRefused, match="it was forgotten, and with it what it was given: send it anew"):
        other.retry()
    assert (job.refresh().state, app.sent()) == (State.SUCCEEDED, [])


def test_a_map_is_forgotten_with_its_parts(app: Treadle) -> None:
    """They have its labels; the text of an error is gone from whole, parts and attempts."""
    job = app.send_map(apps.fail.options(labels=ACME), ["Ann"])
    app.run_pending()
    assert "Ann" in str(job.refresh().error)
    assert app.forget(labels=ACME) == Forgotten(2, 0)
    rows = [each.row for each in app.jobs(labels=ACME)]
    assert "Ann" not in str([(row.payload, row.failure, row.progress, app.store.attempts([row.id])) for row in rows])
    assert str(job.refresh().error) == "treadle.errors.JobFailed: (forgotten)"


def test_many_jobs_are_forgotten_in_steps(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies between them, and where a step ends."""
    monkeypatch.setattr(forgetting, "LOOKED_AT_ONCE", 7)
    monkeypatch.setattr(forgetting, "FORGOTTEN_AT_ONCE", 2)
    for count in (1, 9, 12):
        sent(app, count, **ACME)
        sent(app, 8 - count % 3)
    app.run_pending()
    assert app.forget(labels=ACME) == Forgotten(22, 0)


def test_who_listens_is_told_how_many(app: Treadle) -> None:
    """Not by which labels, which may name a person; nothing where there was nothing."""
    told: list[Event] = []
    sent(app, 1, **ACME)
    app.events.subscribe(told.append)
    app.forget(labels={"tenant": "other"})
    app.forget(labels=ACME)
    assert told == [JobsForgotten(0, 1)]


@pytest.mark.parametrize("labels", [{}, {"user": 7}, {7: "user"}])
def test_labels_that_name_nobody_are_refused(app: Treadle, labels: Any) -> None:
    """No label would be all jobs, and one that is no text no job could have."""
    with pytest.raises(ValueError, match="label"):
        app.forget(labels=labels)
