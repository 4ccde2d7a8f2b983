"""The verbs of the command line, on a store of their own."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from tests import apps
from tests.helpers import eventually, jobs_app, working

from treadle import Treadle
from treadle.console.verbs import add_verbs
from treadle.errors import JobNotFound
from treadle.job import new_id
from treadle.store.contract import ScheduleRow, WorkerRow

NOW_US = 4_000_000_000_000_000
"""In the year 2096: a lease of then holds today."""


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


def run(app: Treadle, *words: str) -> tuple[int, list[str]]:
    """The exit status of a verb, and the lines it wrote."""
    parser = argparse.ArgumentParser()
    add_verbs(parser.add_subparsers(required=True))
    options = parser.parse_args(words)
    lines: list[str] = []
    status = options.verb.run(app, options, lambda text: lines.extend(text.splitlines()))
    return status, lines


def far_worker(app: Treadle, **fields: Any) -> None:
    """A worker of another host."""
    row = {"kind": "process", "started_at_us": 0, "last_seen_at_us": 0, "lease_until_us": NOW_US, **fields}
    app.store.register(WorkerRow(id="far", host="box", pid=7, **row))


# status


def test_status_tells_workers_and_counts(app: Treadle) -> None:
    """A line for each worker and each queue."""
    app.send_function(apps.string_length, "abc")
    app.send_function(apps.string_length.options(queue="mail"), "abc").cancel()
    lines = ["no worker is known", "queue   default  ready 1", "queue   mail  cancelled 1"]
    assert run(app, "status") == (0, lines)


def test_status_tells_what_a_worker_of_this_host_does(app: Treadle) -> None:
    """It says so itself, in its lock file."""
    with working(app) as worker:
        eventually(lambda: run(app, "status")[1][0].endswith("  working  0 running"))
        [shown] = json.loads(run(app, "status", "--json")[1][0])["workers"]
    assert (shown["id"], shown["is_alive"], shown["standing"]["stuck"]) == (worker.id, True, 0)
    assert shown["standing"]["slots"] == {"processes": 1, "threads": 8, "coroutines": 100, "inline": 1}


def test_status_names_a_dead_worker(app: Treadle) -> None:
    """One of another host whose lease has run out."""
    far_worker(app, lease_until_us=1)
    assert run(app, "status")[1][0].endswith("  dead")


@pytest.mark.parametrize(
    ("seen_at_us", "lease_until_us", "status"), [(NOW_US, NOW_US, 0), (0, NOW_US, 1), (NOW_US, 1, 1)]
)
def test_status_is_a_health_check(app: Treadle, seen_at_us: int, lease_until_us: int, status: int) -> None:
    """0 only where a live worker was seen lately; without workers 1."""
    assert run(app, "status", "--max-age", "10")[0] == 1
    far_worker(app, last_seen_at_us=seen_at_us, lease_until_us=lease_until_us)
    assert run(app, "status", "--max-age", "10")[0] == status
    assert run(app, "status")[0] == 0


# jobs and job


def test_jobs_are_listed_and_filtered(app: Treadle) -> None:
    """By state, task, queue and label, the newest first."""
    one = app.send_function(apps.string_length.options(labels={"tenant": "acme"}), "secret word")
    two = app.send_function(apps.total.options(queue="mail"), [1])
    two.cancel()

    def ids(*words: str) -> list[str]:
        return [line.split()[0] for line in run(app, "jobs", *words)[1]]

    assert ids() == [two.id, one.id]
    assert ids("--limit", "1") == ids("--state", "cancelled") == ids("--queue", "mail") == [two.id]
    assert ids("--label", "tenant=acme") == ids("--task", one.task) == [one.id]
    assert run(app, "jobs", "--state", "failed") == (0, ["no job fits"])


def test_lists_show_neither_arguments_nor_results(app: Treadle) -> None:
    """Nor the message of an error, which may hold anything; also not as JSON."""
    app.send_function(apps.string_length, "secret word")
    app.send_function(apps.fail, "secret word")
    app.run_pending()
    for words in (("jobs",), ("jobs", "--json")):
        text = "\n".join(run(app, *words)[1])
        assert "ValueError" in text
        assert "secret" not in text


def test_a_job_is_shown_with_all_that_is_known(app: Treadle) -> None:
    """Attempts, messages, progress, the error with its traceback; arguments only when asked for."""
    counted = app.send_function(apps.count_to, 5)
    failed = app.send_function(apps.fail, "no such user")
    app.run_pending()
    text = "\n".join(run(app, "job", counted.id)[1])
    assert all(part in text for part in ("succeeded", "5 of 5  step 5", "attempt 1", '{"counted":5}'))
    text = "\n".join(run(app, "job", failed.id)[1])
    assert "in fail" in text
    assert '"args"' not in text
    assert '"args":["no such user"]' in "\n".join(run(app, "job", failed.id, "--payload")[1])


def test_a_job_is_shown_without_what_its_task_redacts(app: Treadle) -> None:
    """Also where the arguments are asked for."""
    job = app.send_function(apps.greet, "ann@example.org", "hello")
    line = next(line for line in run(app, "job", job.id, "--payload")[1] if line.startswith("arguments"))
    assert line.endswith('{"args":["…","hello"],"kwargs":{}}')


def test_a_job_whose_result_is_gone_is_shown_so(app: Treadle) -> None:
    """It has succeeded all the same."""
    job = app.send_function(apps.string_length.options(result_ttl_s=60), "abc")
    app.run_pending()
    app.store.forget_results(2**62, 9)
    assert "result        gone: it was not kept any longer" in run(app, "job", job.id)[1]


def test_a_job_that_is_not_there_is_an_error(app: Treadle) -> None:
    """Of ours, so that each command says it in one line."""
    with pytest.raises(JobNotFound):
        run(app, "job", new_id())


# cancel and prune


def test_jobs_are_cancelled(app: Treadle) -> None:
    """A line for each; the status tells whether all were there."""
    waiting, ended = app.send_function(apps.total, [1]), app.send_function(apps.total, [2])
    ended.cancel()
    lines = [f"{waiting.id} is cancelled", f"{ended.id} has ended already: cancelled"]
    assert run(app, "cancel", waiting.id, ended.id) == (0, lines)
    assert run(app, "cancel", "nobody") == (1, ["there is no job 'nobody'"])


def test_jobs_are_retried(app: Treadle) -> None:
    """A line for each; the status tells whether all could be."""
    job, other = app.send_function(apps.total, [1]), app.send_function(apps.total, [2])
    job.cancel()
    assert run(app, "retry", job.id) == (0, [f"{job.id} is ready"])
    status, lines = run(app, "retry", other.id, "nobody")
    assert (status, len(lines)) == (1, 2)
    assert "it is ready, and only a job that failed or was cancelled can be" in lines[0]


def test_jobs_are_retried_by_state_and_task(app: Treadle) -> None:
    """The newest, as many as are wanted; of a map the whole."""
    jobs = [app.send_function(apps.total, [1]) for _ in range(3)]
    whole = app.send_map(apps.upper, ["a", "b"], parts=2)
    for job in (*jobs, whole):
        job.cancel()
    lines = [f"{job.id} is ready" for job in jobs[1:]]
    assert run(app, "retry", "--state", "cancelled", "--task", "tests.apps.total", "--limit", "2") == (0, lines)
    assert run(app, "retry", "--state", "cancelled")[1] == [f"{jobs[0].id} is ready", f"{whole.id} is blocked"]
    assert run(app, "retry", "--state", "cancelled") == (0, ["no job fits"])
    assert run(app, "retry") == run(app, "retry", whole.id, "--state", "failed") == (2, ["give ids, or --state"])


def test_queues_are_paused_and_resumed(app: Treadle) -> None:
    """A line for each; `status` marks them, also one without jobs."""
    app.send_function(apps.total.options(queue="mail"), [1])
    said = "is paused: its jobs wait until `resume`, and what runs goes on"
    assert run(app, "pause", "mail", "empty") == (0, [f"mail {said}", f"empty {said}"])
    assert run(app, "status")[1][1:] == ["queue   empty  paused", "queue   mail  paused  ready 1"]
    assert json.loads(run(app, "status", "--json")[1][0])["paused"] == ["empty", "mail"]
    assert run(app, "resume", "mail", "other") == (0, ["mail is resumed", "other was not paused"])
    assert list(app.paused()) == ["empty"]


def test_jobs_are_forgotten_by_their_labels(app: Treadle) -> None:
    """Those that have them all; what has not ended is told apart, and a forgotten job is shown as one."""
    job = app.send_function(apps.string_length.options(labels={"tenant": "acme", "user": "7"}), "Ann")
    app.run_pending()
    app.send_function(apps.string_length.options(labels={"tenant": "acme"}), "Ann")
    assert run(app, "forget", "--label", "tenant=acme", "--label", "user=7") == (0, ["1 jobs forgotten"])
    left = "1 have not ended, and were left: do it again when they have"
    assert run(app, "forget", "--label", "tenant=acme") == (0, ["0 jobs forgotten", left])
    text = run(app, "job", job.id, "--payload")[1]
    assert {"arguments     gone: they were forgotten", "result        gone: it was forgotten"} <= set(text)


def test_finished_jobs_are_deleted(app: Treadle) -> None:
    """As old as is said, or as the settings say."""
    app.send_function(apps.total, [1]).cancel()
    app.send_function(apps.total, [2])
    assert run(app, "prune") == (0, ["0 jobs deleted"])
    assert run(app, "prune", "--older-than", "0") == (0, ["1 jobs deleted"])
    assert sum(app.store.counts().values()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--concurrency", "0"],
        ["run", "--pool", "threads"],
        ["run", "--pool", "threads=many"],
        ["status", "--max-age", "-1"],
        ["jobs", "--label", "acme"],
        ["jobs", "--state", "done"],
        ["cancel"],
        ["pause"],
    ],
    ids=" ".join,
)
def test_wrong_words_are_answered_with_the_usage(app: Treadle, words: list[str]) -> None:
    """Exit status 2, before anything is done."""
    with pytest.raises(SystemExit) as caught:
        run(app, *words)
    assert caught.value.code == 2


# Schedules


def test_status_tells_the_schedules(app: Treadle) -> None:
    """When each comes next and was last sent, and which of them the code declares no longer."""
    app.schedule("0 3 * * *", apps.by_name, timezone="Asia/Tokyo", name="nightly")
    row = {"cron": "0 3 * * *", "task": "tests.by_name", "seen_at_us": NOW_US}
    app.store.keep_schedules([
        ScheduleRow(name="nightly", timezone="Asia/Tokyo", **row), ScheduleRow(name="old", timezone="UTC", **row)
    ])  # fmt: skip
    app.store.move_schedule("nightly", NOW_US, NOW_US + 60_000_000, "some-job")
    day = "2096-10"
    assert run(app, "status")[1][1:] == [
        f"schedule  nightly  0 3 * * *  Asia/Tokyo  next {day}-03T03:00:00+09:00  last {day}-02T16:07:40+09:00 as some-job",
        "schedule  old  0 3 * * *  UTC  the code declares it no longer",
    ]
    shown = json.loads(run(app, "status", "--json")[1][0])["schedules"]
    assert [(each["name"], each["last_job_id"], each["next_at"] is None) for each in shown] == [
        ("nightly", "some-job", False), ("old", None, True),
    ]  # fmt: skip


def test_status_tells_a_schedule_that_no_worker_has_seen(app: Treadle) -> None:
    """It begins with the next one."""
    app.schedule("0 3 * * *", apps.by_name, name="nightly")
    assert "03:00:00+00:00" in run(app, "status")[1][1]


def test_prune_forgets_the_schedules_that_are_no_longer_declared(app: Treadle) -> None:
    """Where it is asked to; those of the code stay."""
    app.schedule("0 3 * * *", apps.by_name, name="nightly")
    row = {"cron": "0 3 * * *", "timezone": "UTC", "task": "tests.by_name", "seen_at_us": NOW_US}
    app.store.keep_schedules([ScheduleRow(name="nightly", **row), ScheduleRow(name="old", **row)])
    assert run(app, "prune")[1] == ["0 jobs deleted"]
    assert run(app, "prune", "--schedules")[1] == ["0 jobs deleted", "1 schedules forgotten"]
    assert [row.name for row in app.store.schedules()] == ["nightly"]
