"""`Treadle`: settings, tasks, store and pools, and the verbs on them."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests import apps, functions
from tests.helpers import PATIENCE_S, Gate, jobs_app, working

from treadle import (
    AppNotFound,
    InvalidTask,
    JobNotFound,
    NotATask,
    PayloadError,
    PayloadTooLarge,
    PoolBroken,
    SettingsError,
    State,
    ThreadPool,
    Treadle,
    TreadleError,
    WouldDeadlock,
    cores,
    staffing,
)
from treadle.app import Sent, runner_of
from treadle.events import Event, JobEnqueued, JobsExpired, QueuePaused, QueueResumed
from treadle.pools import current
from treadle.task import Registry
from treadle.testing import ManualClock
from treadle.worker import execution


def plain(text: str) -> int:
    return len(text)


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


@pytest.fixture
def collecting() -> Treadle:
    return Treadle(mode="collect", registry=apps.app.registry)


def nothing_sent(app: Treadle) -> bool:
    return app.store.counts() == {}


# Settings


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "database_url 'sqlite://' is not known; use 'sqlite:///relative.sqlite3'"),
        ("sqlite:///", "database_url 'sqlite:///' is not known"),
        ("mysql://localhost/jobs", "is not known"),
        ("jobs.sqlite3", "is not known"),
        ("memory://somewhere", "is not known"),
    ],
)
def test_a_wrong_url_is_refused_at_start(url: str, message: str) -> None:
    """With the forms that there are."""
    with pytest.raises(SettingsError) as caught:
        Treadle(url)
    assert message in str(caught.value)


def test_an_unknown_setting_is_refused_at_start() -> None:
    """With the near one."""
    with pytest.raises(SettingsError, match=r"unknown setting 'concurency', did you mean 'concurrency'\?"):
        Treadle("memory://", concurency=2)


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    """An application that is imported costs nothing."""
    jobs_app(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes for the current folder, four for an absolute path."""
    monkeypatch.chdir(tmp_path)
    Treadle("sqlite:///here.sqlite3").store.counts()
    Treadle(f"sqlite:///{tmp_path}/there.sqlite3").store.counts()
    assert {"here.sqlite3", "there.sqlite3"} <= {path.name for path in tmp_path.iterdir()}


# Sending


def test_a_plain_function_is_not_a_task(app: Treadle) -> None:
    """NotATask names it and says how to decorate it; nothing is sent."""
    with pytest.raises(NotATask, match="plain is not a task: decorate it with @task"):
        app.send_function(plain, "abc")  # type: ignore[arg-type]
    assert nothing_sent(app)


def test_the_call_of_a_task_is_not_a_task(app: Treadle) -> None:
    """A usual slip: `send_function(string_length("abc"))`."""
    with pytest.raises(NotATask, match=r"3 is not a task: .*pass the task, not a call of it"):
        app.send_function(apps.string_length("abc"))  # type: ignore[arg-type]


def test_a_task_of_another_application_is_refused(tmp_path: Path) -> None:
    """Two applications in one process share nothing."""
    other = Treadle("memory://", registry=Registry())
    with pytest.raises(NotATask, match="string_length is a task of another application"):
        other.send_function(apps.string_length, "abc")


@pytest.mark.parametrize(
    "send",
    [
        lambda app: app.send_function(apps.string_length),
        lambda app: app.send_function(apps.string_length, "a", "b"),
        lambda app: app.send_function(apps.string_length, word="a"),
        lambda app: app.send_many([apps.string_length.bind("a"), apps.string_length.bind()]),
        lambda app: app.send_map(apps.count_to.options(), [1, 2], reduce=None) and app.send_map(apps.by_name, [1]),
    ],
    ids=["missing", "too many", "unknown name", "one of many", "map"],
)
def test_arguments_that_do_not_fit_are_a_type_error(collecting: Treadle, send: Callable[[Treadle], Any]) -> None:
    """In the send, before anything of it is stored."""
    with pytest.raises(TypeError, match=r"^tests\.\w+"):
        send(collecting)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, r"^args\[0\] is of type set, which JSON cannot carry"),
        ({"rows": [0, 1, 2, float("nan")]}, r'^args\[0\]\["rows"\]\[3\] is nan, which JSON cannot carry'),
        ({1: "one"}, r"^args\[0\] has the key 1 of type int"),
    ],
    ids=["set", "nan", "integer key"],
)
def test_an_argument_that_json_cannot_carry_is_refused(app: Treadle, value: Any, message: str) -> None:
    """With the path to the value and its type; nothing is sent."""
    with pytest.raises(PayloadError, match=message):
        app.send_function(apps.string_length, value)
    assert nothing_sent(app)


def test_a_payload_over_the_limit_is_refused(tmp_path: Path) -> None:
    """With both sizes, and what to do."""
    app = jobs_app(tmp_path, max_payload_bytes=100)
    with pytest.raises(PayloadTooLarge, match=r"1,0\d\d bytes as JSON, and the limit is 100; .*pass a reference"):
        app.send_function(apps.string_length, "x" * 1000)
    with pytest.raises(PayloadTooLarge, match=r"or send the items in more parts with send_map\(parts=…\)"):
        app.send_map(apps.upper, ["x" * 60, "y" * 60], parts=1)
    assert nothing_sent(app)


def test_a_queue_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    """Where queues are listed; with the near one."""
    app = jobs_app(tmp_path, queues=["default", "mail"])
    app.send_function(apps.string_length.options(queue="mail"), "abc")
    with pytest.raises(InvalidTask, match=r"unknown queue 'male', did you mean 'mail'\?; the setting 'queues' lists"):
        app.send_function(apps.string_length.options(queue="male"), "abc")
    with pytest.raises(SettingsError, match=r"unknown queue 'male', did you mean 'mail'\?"):
        app.worker(queues=["male"])


def test_many_calls_are_sent_together_or_not_at_all(app: Treadle) -> None:
    """One that cannot be kept takes the others along."""
    with pytest.raises(PayloadError):
        app.send_many([apps.string_length.bind("a"), apps.string_length.bind({1})])  # type: ignore[arg-type]
    assert nothing_sent(app)
    assert [job.state for job in app.send_many([apps.upper.bind("a"), apps.upper.bind("b")])] == [State.READY] * 2


def test_a_repr_of_what_was_sent_shows_no_arguments() -> None:
    """It ends up in logs, as that of a job does; who asks for the arguments has them."""
    sent = Sent("mail", ("ann@x",), {"card": "4711"}, "id")
    told = repr([sent]) + repr(sent.__rich_repr__())
    assert "mail" in told
    assert not any(secret in told for secret in ("ann@x", "4711"))


def test_what_is_sent_in_a_transaction_is_sent_with_it(app: Treadle) -> None:
    """Or not at all."""
    with pytest.raises(ZeroDivisionError), app.transaction():
        app.send_function(apps.string_length, "abc")
        raise ZeroDivisionError
    assert nothing_sent(app)
    with app.transaction():
        app.send_function(apps.string_length, "abc")
    assert len(app.jobs()) == 1


def test_waiting_in_the_transaction_that_sent_the_job_is_refused(app: Treadle) -> None:
    """No worker sees the job before the commit."""
    with app.transaction():
        job = app.send_function(apps.string_length, "abc")
        with pytest.raises(WouldDeadlock):
            job.result(timeout_s=0.05)


def test_waiting_in_a_job_that_holds_the_only_slot_is_refused(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other job could never start."""
    job = app.send_function(apps.string_length, "abc")
    monkeypatch.setattr(current, "is_child", True)
    monkeypatch.setattr(execution, "_worker_slots", 1)
    with pytest.raises(WouldDeadlock, match="this job holds the only slot"):
        job.result(timeout_s=0.05)


def test_a_job_can_be_sent_for_later(tmp_path: Path) -> None:
    """After a delay, by the application's clock."""
    clock = ManualClock()
    app = jobs_app(tmp_path, clock=clock, mode="collect")
    job = app.send_function(apps.string_length.options(run_after=timedelta(hours=1)), "abc")
    assert job.state is State.SCHEDULED
    assert app.run_pending() == []
    clock.advance(3600)
    assert [ran.result() for ran in app.run_pending()] == [3]


def test_a_job_that_has_not_begun_in_time_fails(tmp_path: Path) -> None:
    """Its reason says by when it had to begin; the function is not called."""
    clock = ManualClock()
    app = jobs_app(tmp_path, clock=clock, mode="collect")
    job = app.send_function(apps.string_length.options(expires_after=timedelta(minutes=5)), "abc")
    clock.advance(300)
    assert app.run_pending() == []
    failed = job.refresh()
    assert (failed.state, failed.attempts) == (State.FAILED, [])
    assert "JobExpired: it had not begun by 2" in str(failed.error)


def test_a_job_that_would_expire_before_its_time_is_refused(app: Treadle) -> None:
    """It could never run."""
    task = apps.string_length.options(run_after=timedelta(hours=1), expires_after=timedelta(minutes=5))
    with pytest.raises(InvalidTask, match=r"expires_after=.*seconds=300.* is over when run_after=.*3600.* comes"):
        app.send_function(task, "abc")
    assert nothing_sent(app)


def test_the_expiry_of_a_map_is_that_of_its_parts(app: Treadle) -> None:
    """What gathers the results begins when they are there; a `reduce` has an expiry of its own."""
    task, reduce = apps.upper.options(expires_after=timedelta(minutes=5)), apps.join_words
    plain = app.send_map(task, ["a"]).row
    reduced = app.send_map(apps.upper, ["a"], reduce=reduce.options(expires_after=timedelta(minutes=5))).row
    (part,) = [job.row for job in app.jobs() if job.row.group_id == plain.id]
    assert plain.expires_at_us is None
    assert part.expires_at_us == part.enqueued_at_us + 300_000_000
    assert reduced.expires_at_us == reduced.enqueued_at_us + 300_000_000


def test_results_are_kept_as_task_or_setting_say(tmp_path: Path) -> None:
    """The task goes first; parts leave it to their whole."""
    app, plain = jobs_app(tmp_path, keep_results_s=60), jobs_app(tmp_path)
    task = apps.upper.options(result_ttl_s=2.5)
    sent = [app.send_function(task, "a"), app.send_function(apps.upper, "a"), plain.send_function(apps.upper, "a")]
    assert [job.row.result_ttl_us for job in sent] == [2_500_000, 60_000_000, None]
    whole = app.send_map(task, ["a"])
    assert whole.row.result_ttl_us == 2_500_000
    assert [job.row.result_ttl_us for job in app.jobs() if job.row.group_id == whole.id] == [None]


def test_a_send_is_announced(app: Treadle) -> None:
    """With the job as it was sent."""
    events: list[Event] = []
    app.events.subscribe(events.append)
    job = app.send_function(apps.string_length, "abc")
    assert [event.job.id for event in events if isinstance(event, JobEnqueued)] == [job.id]


# Unique keys


def test_a_job_with_a_key_is_sent_once(app: Treadle) -> None:
    """While it has not ended, who sends another gets it: with its arguments, and without an event."""
    events: list[Event] = []
    app.events.subscribe(events.append)
    keyed = apps.string_length.options(unique_key="report:7")
    first = app.send_function(keyed, "abc")
    assert app.send_function(keyed, "other").row == first.refresh().row
    assert len(app.jobs()) == sum(isinstance(event, JobEnqueued) for event in events) == 1
    first.cancel()
    assert app.send_function(keyed, "abc").id != first.id


def test_many_calls_with_keys_are_told_one_by_one(app: Treadle) -> None:
    """Each handle is on the job that is kept for its call."""
    a, b = (apps.string_length.options(unique_key=key) for key in "ab")
    sent = [*app.send_many([a.bind("x")]), *app.send_many([b.bind("x"), a.bind("y"), b.bind("z")])]
    assert [job.id for job in sent] == [sent[0].id, sent[1].id, sent[0].id, sent[1].id]
    assert len(app.jobs()) == 2


def test_a_map_with_a_key_is_sent_once(app: Treadle) -> None:
    """The key is that of the whole; of one that is there already no part is sent again."""
    keyed = apps.upper.options(unique_key="words")
    first = app.send_map(keyed, ["a", "b"], parts=2)
    assert app.send_map(keyed, ["c", "d"], parts=2).id == first.id
    assert [job.row.unique_key for job in app.jobs() if job.row.kind == "part"] == [None, None]


def test_the_key_of_a_map_belongs_to_what_is_mapped(app: Treadle) -> None:
    """Another function over the items, or one call with that key, is another job."""
    key = {"unique_key": "k"}
    calls = [
        app.send_map(apps.upper.options(**key), ["a"]),
        app.send_map(apps.string_length.options(**key), ["a"]),
        app.send_map(apps.upper.options(**key), ["a"], reduce=apps.join_words),
        app.send_map(apps.upper, ["a"], reduce=apps.join_words.options(**key)),
        app.send_function(apps.upper.options(**key), "a"),
    ]
    assert len({job.id for job in calls}) == 5
    assert app.send_function(apps.join_words.options(**key), ["a"]).id == calls[3].id


def test_the_parts_of_a_map_with_a_concurrency_key_run_one_after_the_other(app: Treadle) -> None:
    """And what gathers their results waits for nobody; where `reduce` has a key of its own it is that."""
    mapped, reduce = (t.options(concurrency_key=t.name) for t in (apps.upper, apps.join_words))
    app.send_map(mapped, ["a", "b"], parts=2)
    app.send_map(mapped, ["a"], reduce=reduce)
    keys = {(job.row.kind, job.row.concurrency_key) for job in app.jobs()}
    assert keys == {("part", mapped.name), ("whole", None), ("whole", reduce.name)}


def test_jobs_with_a_concurrency_key_run_in_the_modes_of_tests(collecting: Treadle) -> None:
    """One after the other, as everything does there."""
    collecting.send_many([apps.upper.options(concurrency_key="k").bind(text) for text in "ab"])
    assert [job.result() for job in collecting.run_pending()] == ["A", "B"]


def test_a_map_has_one_key(app: Treadle) -> None:
    """Two could not both be kept."""
    mapped, reduce = (task.options(unique_key="k") for task in (apps.upper, apps.join_words))
    with pytest.raises(InvalidTask, match="has two unique keys, 'k' and 'k': give it one"):
        app.send_map(mapped, ["a"], reduce=reduce)
    assert nothing_sent(app)


def test_a_key_that_another_transaction_takes_back_is_free(app: Treadle) -> None:
    """A rollback takes the job back, and the key with it."""
    keyed = apps.string_length.options(unique_key="k")
    with pytest.raises(ZeroDivisionError), app.transaction():
        app.send_function(keyed, "abc")
        raise ZeroDivisionError
    assert app.send_function(keyed, "abc").state is State.READY


def test_in_immediate_mode_each_send_with_a_key_runs() -> None:
    """The one before it has ended; one that waits for its time is given."""
    app = Treadle(mode="immediate", registry=apps.app.registry)
    keyed = apps.string_length.options(unique_key="k")
    assert [app.send_function(keyed, text).result() for text in ("a", "abc")] == [1, 3]
    later = app.send_function(keyed.options(run_after=timedelta(hours=1)), "a")
    assert app.send_function(keyed, "abc").id == later.id


def test_a_coroutine_sends_a_job_with_a_key_once(collecting: Treadle) -> None:
    """`asend_function` and the others give the job that is there."""
    keyed = apps.upper.options(unique_key="k")

    async def send() -> list[str]:
        jobs = [await collecting.asend_function(keyed, "a"), *await collecting.asend_many([keyed.bind("b")])]
        return [job.id for job in jobs]

    assert len(set(asyncio.run(send()))) == 1


def test_a_map_is_cut_into_parts(app: Treadle) -> None:
    """Of nearly the same size, and never more than there are items."""
    app.send_map(apps.upper, list("abcdefghij"), parts=4)
    sizes = [job.row.size for job in app.jobs() if job.row.kind == "part"]
    assert sorted(sizes) == [2, 2, 3, 3]
    whole = app.send_map(apps.upper, ["a"], parts=4).refresh()
    assert (whole.state, whole.progress.total) == (State.BLOCKED, 1)


def test_a_map_is_cut_by_what_the_last_one_took(tmp_path: Path) -> None:
    """Items that take next to nothing are not worth more than one part."""
    app = jobs_app(tmp_path, mode="immediate", database_url="memory://", clock=ManualClock())
    sizes = []
    for _ in range(2):
        whole = app.send_map(apps.upper, list("abcdefghij"))
        sizes.append(sum(job.row.group_id == whole.id for job in app.jobs()))
        assert whole.result() == list("ABCDEFGHIJ")
    assert sizes == [10, 1]


@pytest.mark.parametrize("parts", [-1, 0])
def test_a_map_without_parts_is_refused(app: Treadle, parts: int) -> None:
    """It could never end."""
    with pytest.raises((ValueError, TreadleError)):
        app.send_map(apps.upper, ["a", "b"], parts=parts)
    assert nothing_sent(app)


# Looking


def test_a_part_may_take_as_long_as_its_items_together(app: Treadle) -> None:
    """The limit of time is for one call; the other limits are those of the task, and what gathers has none."""
    limited = apps.upper.options(timeout_s=2, memory_mb=100)
    whole = app.send_map(limited, list("abcde"), parts=2).refresh()
    parts = [job.row for job in app.jobs() if job.row.group_id == whole.id]
    assert sorted((part.size, part.timeout_s, part.memory_mb) for part in parts) == [(2, 4, 100), (3, 6, 100)]
    assert whole.row.limits == {}


def test_what_reduces_has_its_own_limits(app: Treadle) -> None:
    """It is a task like any other."""
    whole = app.send_map(apps.upper, ["a"], reduce=apps.join_words.options(timeout_s=9)).refresh()
    assert whole.row.limits == {"timeout_s": 9}


def test_children_are_replaced_as_the_settings_say(tmp_path: Path) -> None:
    """Only what is set is told to the pool."""
    assert staffing.recycling(jobs_app(tmp_path).settings) == {}
    chosen = {"recycle_after_tasks": 100, "recycle_over_rss_mb": 300.0}
    assert staffing.recycling(jobs_app(tmp_path, **chosen).settings) == chosen


@pytest.mark.parametrize(
    "job_id", ["0199", "", "x" * 64, "x" * 100_000, "\x00", "\udcff", "../../etc/passwd", None, 7, b"1"], ids=repr
)
def test_an_id_that_there_is_not_is_not_found(app: Treadle, job_id: Any) -> None:
    """Unknown or malformed, the answer is the same."""
    with pytest.raises(JobNotFound, match="there is no job"):
        app.job(job_id)


def test_a_job_of_another_store_is_not_found(app: Treadle, tmp_path: Path) -> None:
    """Its id says nothing here."""
    (tmp_path / "other").mkdir()
    job = jobs_app(tmp_path / "other").send_function(apps.string_length, "abc")
    with pytest.raises(JobNotFound):
        app.job(job.id)


def test_jobs_are_listed_newest_first(app: Treadle) -> None:
    """By state, task, queue and labels."""
    first = app.send_function(apps.upper, "a")
    second = app.send_function(apps.string_length.options(queue="mail", labels={"tenant": "acme"}), "abc")
    assert [job.id for job in app.jobs()] == [second.id, first.id]
    assert [job.id for job in app.jobs(task="tests.apps.upper")] == [first.id]
    assert [job.id for job in app.jobs(queue="mail", labels={"tenant": "acme"}, state="ready")] == [second.id]
    assert app.jobs(state=State.FAILED) == []
    assert len(app.jobs(limit=1)) == 1


def test_a_state_that_there_is_not_is_a_value_error(app: Treadle) -> None:
    """With its name."""
    with pytest.raises(ValueError, match="'finished' is not a valid State"):
        app.jobs(state="finished")


@pytest.mark.parametrize("limit", [0, 2**70])
def test_any_number_of_jobs_may_be_asked_for(app: Treadle, limit: int) -> None:
    """Also none, and more than a store can count."""
    app.send_function(apps.upper, "a")
    assert len(app.jobs(limit=limit)) == min(limit, 1)


def test_fewer_than_no_jobs_are_a_value_error(app: Treadle) -> None:
    """Whatever a store would make of that."""
    with pytest.raises(ValueError, match="limit is at least 0, got -1"):
        app.jobs(limit=-1)


def test_an_id_that_postgresql_could_not_read_is_not_found(postgres_url: str, tmp_path: Path) -> None:
    """As with any other store."""
    app = jobs_app(tmp_path, database_url=postgres_url)
    with pytest.raises(JobNotFound, match="there is no job"):
        app.job("a\0")
    app.close()


def test_every_verb_can_be_awaited(collecting: Treadle) -> None:
    """The same verbs, for coroutines."""

    async def use() -> None:
        job = await collecting.asend_function(apps.upper, "a")
        await collecting.asend_many([apps.upper.bind("b")])
        await collecting.asend_map(apps.upper, ["c"], parts=1)
        assert (await collecting.ajob(job.id)).id == job.id
        assert len(await collecting.ajobs(task="tests.apps.upper")) == 3
        assert (await job.arefresh()).state is State.READY

    asyncio.run(use())


# The modes of tests


def test_sent_calls_are_collected(collecting: Treadle) -> None:
    """With their arguments as they were sent, oldest first; wholes and parts are not calls."""
    first = collecting.send_function(apps.string_length, "abc")
    second = collecting.send_function(apps.mirror, apps.Point(1, 2))
    collecting.send_map(apps.upper, ["a"])
    assert collecting.sent() == [
        Sent("tests.apps.string_length", ("abc",), {}, first.id),
        Sent("tests.apps.mirror", (apps.Point(1, 2),), {}, second.id),
    ]
    assert [call.job_id for call in collecting.sent(apps.mirror)] == [second.id]


def test_waiting_where_no_worker_runs_is_refused(collecting: Treadle) -> None:
    """The message names `run_pending`."""
    job = collecting.send_function(apps.string_length, "abc")
    with pytest.raises(WouldDeadlock, match=r"in mode collect no worker runs the job; call run_pending\(\) first"):
        job.result()
    assert [ran.result() for ran in collecting.run_pending()] == [3]
    assert job.result() == 3


def test_in_immediate_mode_a_send_runs_the_job() -> None:
    """And returns it as it ended."""
    app = Treadle(mode="immediate", registry=apps.app.registry)
    assert app.send_function(apps.string_length, "abc").result() == 3
    assert app.send_function(apps.fail, "bad").state is State.FAILED
    assert app.send_map(apps.upper, ["a", "b"]).result() == ["A", "B"]


def test_in_immediate_mode_a_retry_runs_the_job(tmp_path: Path) -> None:
    """As the send did; a map with the parts that failed."""
    app = Treadle(mode="immediate", registry=apps.app.registry)
    job = app.send_function(apps.fail_until.options(max_attempts=1), str(tmp_path / "runs"), 2)
    assert (job.state, job.retry().result()) == (State.FAILED, 2)
    assert [attempt.outcome for attempt in job.attempts] == ["raised", "succeeded"]


def test_what_a_send_finds_expired_is_announced(tmp_path: Path) -> None:
    """No duty would find it any more: it has failed, so that what was sent has its key."""
    clock, told = ManualClock(), list[Event]()
    app = jobs_app(tmp_path, clock=clock, database_url="memory://")
    app.events.subscribe(told.append)
    keyed = apps.string_length.options(unique_key="k")
    old = app.send_function(keyed.options(expires_after=timedelta(seconds=5)), "old")
    clock.advance(5)
    new = app.send_function(keyed, "new")
    assert told == [JobEnqueued(old.row), JobsExpired((old.id,)), JobEnqueued(new.row)]


# Where a child finds the application


def test_an_application_that_a_child_could_not_find_is_refused(tmp_path: Path) -> None:
    """At the first send, with the setting that helps."""
    app = Treadle(f"sqlite:///{tmp_path}/jobs.sqlite3", registry=apps.app.registry)
    with pytest.raises(AppNotFound, match=r"no module has this application as a name.*app='module:name'"):
        app.send_function(apps.string_length, "abc")
    assert nothing_sent(app)


def test_a_child_finds_the_application_by_its_name() -> None:
    """As `module:name`, or as a function that makes it."""
    assert runner_of("tests.apps:app") is apps.app.runner
    assert runner_of("tests.apps:make_app()") is apps.app.runner


def test_what_is_no_application_is_refused() -> None:
    """With what it is."""
    with pytest.raises(AppNotFound, match=r"tests.apps:not_an_app is a int, not a Treadle application"):
        runner_of("tests.apps:not_an_app")


COUNTED = """
from pathlib import Path
from tests.apps import app
with Path(__file__).with_name("imports").open("a") as file: file.write("x")
"""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the imports of the module `counted` are counted; it holds the application `app`."""
    (tmp_path / "counted.py").write_text(COUNTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "imports"


def test_the_application_is_imported_once_for_all_children(counted: Path, tmp_path: Path, gate: Gate) -> None:
    """Of a worker: they are forked after that."""
    app = jobs_app(tmp_path, app="counted:app", concurrency=2)
    with working(app):
        jobs = [app.send_function(apps.meet, str(gate.folder), 2, number) for number in range(2)]
        assert [job.result(PATIENCE_S) for job in jobs] == [0, 1]
    assert counted.read_text() == "x"


def test_the_pool_preloads_what_this_process_has_imported(counted: Path, tmp_path: Path) -> None:
    """And nothing else: a main program without a guard would run twice."""
    app = jobs_app(tmp_path, app="counted:app")
    assert (app.preload(), app.pool_preload()) == (("counted?",), ())
    assert list(app.pool.map(functions.has_imported, ["counted"])) == [False]
    app.close()
    known = jobs_app(tmp_path)
    assert list(known.pool.map(functions.has_imported, ["tests.apps"])) == [True]
    known.close()


def test_an_application_that_nobody_finds_has_nothing_to_preload() -> None:
    """Its pool works all the same."""
    app = Treadle("memory://", concurrency=1)
    assert app.preload() == ()
    assert list(app.pool.map(len, ["a"])) == [1]
    app.close()


@pytest.mark.parametrize(
    ("target", "error"),
    [("nowhere.at_all:app", AppNotFound), ("tests.apps:ap", AppNotFound), ("broken:app", ModuleNotFoundError)],
)
def test_a_worker_says_why_its_children_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, error: type[Exception]
) -> None:
    """The error of a child that looked for the application, whether or not it was to be preloaded."""
    (tmp_path / "broken.py").write_text("import no_such_thing_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PoolBroken) as caught:
        jobs_app(tmp_path, app=target).worker().run()
    assert type(caught.value.__cause__) is error


# Running


def test_the_pool_computes_now(app: Treadle) -> None:
    """On every core that the settings give, tasks and functions alike."""
    assert list(app.pool.map(apps.string_length, ["a", "bc"])) == [1, 2]
    assert list(app.pool.map(len, ["a", "bc"])) == [1, 2]
    assert app.pool.max_workers == 1
    app.close()


def test_without_a_gil_the_pool_is_one_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are slots: they run on every core then."""
    monkeypatch.setattr(cores, "has_gil", lambda: False)
    app = jobs_app(tmp_path, concurrency=3)
    assert isinstance(app.pool, ThreadPool)
    assert app.pool.max_workers == 3
    assert list(app.pool.map(apps.string_length, ["a", "bc"])) == [1, 2]
    app.close()
    with pytest.raises(RuntimeError):
        app.pool.submit(len, "a")


def test_a_closed_application_may_be_closed_again(app: Treadle) -> None:
    """Nothing stays open."""
    app.send_function(apps.string_length, "abc")
    app.close()
    app.close()


def test_a_dataclass_comes_back_as_one(app: Treadle) -> None:
    """From the result, where the return is annotated."""
    with working(app):
        assert app.send_function(apps.mirror, apps.Point(1, 2)).result(PATIENCE_S) == apps.Point(2, 1)


def test_the_version_of_a_sent_job_is_that_of_the_store(app: Treadle) -> None:
    """What a send returns and what a look gives have the same ETag, for a call and for a map."""
    for job in (app.send_function(apps.string_length, "abc"), app.send_map(apps.upper, ["a"])):
        assert job.version == job.refresh().version


def test_a_send_of_a_coroutine_joins_the_transaction_around_it(app: Treadle) -> None:
    """It is sent with the rest or not at all, and waits for no lock of its own thread."""

    async def send_and_fail() -> None:
        with app.transaction():
            await asyncio.wait_for(app.asend_function(apps.string_length, "abc"), 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(send_and_fail())
    assert nothing_sent(app)


def test_waiting_inline_in_the_workers_own_loop_is_refused(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop would stand still, and the other job with it."""
    job = app.send_function(apps.string_length, "abc")
    monkeypatch.setattr(current, "loop_threads", {threading.get_ident()})
    with pytest.raises(WouldDeadlock, match="the worker's own loop"):
        job.result(timeout_s=0.05)


# Keeping


def test_a_paused_queue_is_left_alone_until_it_is_resumed(app: Treadle) -> None:
    """By every worker; what is sent meanwhile waits, and other queues are served."""
    app.pause("mail")
    with working(app):
        waiting = app.send_function(apps.string_length.options(queue="mail", priority=9), "abc")
        assert app.send_function(apps.string_length, "ab").result(PATIENCE_S) == 2
        assert waiting.refresh().state is State.READY
        app.resume("mail")
        assert waiting.result(PATIENCE_S) == 3


def test_paused_queues_are_told_and_announced_once(collecting: Treadle) -> None:
    """With the time; a second pause or resume is no news."""
    heard: list[Event] = []
    collecting.events.subscribe(heard.append)
    collecting.pause("mail", "default")
    collecting.pause("mail")
    assert list(collecting.paused()) == ["default", "mail"]
    assert collecting.paused()["mail"].tzinfo is not None
    collecting.resume("mail", "default")
    collecting.resume("mail")
    assert collecting.paused() == {}
    assert heard == [QueuePaused("default"), QueuePaused("mail"), QueueResumed("default"), QueueResumed("mail")]


def test_a_queue_that_is_not_listed_cannot_be_paused() -> None:
    """With the near one: to pause a misspelt queue would pause nothing."""
    app = Treadle("memory://", queues=["default", "mail"])
    with pytest.raises(SettingsError, match=r"unknown queue 'mial', did you mean 'mail'\?"):
        app.pause("mial")
    assert app.paused() == {}


def test_run_pending_leaves_a_paused_queue_alone(collecting: Treadle) -> None:
    """As a worker would."""
    collecting.pause("mail")
    collecting.send_function(apps.string_length.options(queue="mail"), "abc")
    collecting.send_function(apps.string_length, "ab")
    assert [job.queue for job in collecting.run_pending()] == ["default"]
