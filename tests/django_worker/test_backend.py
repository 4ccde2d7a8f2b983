"""The backend keeps the contract of the task framework."""

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import django
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone

from django_worker import job, run_pending, send_function, worker_task
from django_worker.backend import WorkerBackend
from django_worker.contract import (
    FrameworkTask,
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from django_worker.site import our_aliases, site
from tests.django_site import tasks
from treadle import Reject
from treadle.clock import as_datetime
from treadle.errors import NotATask, PayloadError, ResultExpired

pytestmark = pytest.mark.django_db

OURS = "django_worker.backend.WorkerBackend"
DUMMY = FrameworkTask.__module__.removesuffix(".base") + ".backends.dummy.DummyBackend"


def test_enqueue_gives_a_ready_result_with_the_arguments():
    """What is enqueued is READY, with its arguments as JSON has them."""
    result = tasks.string_length.enqueue("hello")
    assert result.status is TaskResultStatus.READY
    assert (result.args, result.kwargs, result.backend) == (["hello"], {}, "default")
    assert 0 < len(result.id) < 64


def test_a_return_value_that_was_not_kept_is_gone():
    """ResultExpired, also where the result was got before; the status stays."""
    result = tasks.string_length.options(result_ttl_s=60).enqueue("hello")
    run_pending()
    result.refresh()
    assert result.return_value == 5
    site().store.forget_results(2**62, 9)
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL
    with pytest.raises(ResultExpired, match="was dropped 60 s after its end"):
        result.return_value


def test_a_run_task_has_its_return_value_and_one_worker_id():
    """After the run the result is SUCCESSFUL, with the value, the times and one worker for one attempt."""
    result = tasks.string_length.enqueue("hello")
    run_pending()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 5, 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.errors == []


def test_a_failed_task_has_its_error_with_class_and_traceback():
    """After its last attempt a result is FAILED and holds an error for each attempt."""
    result = tasks.fails_at_once.enqueue("no luck")
    run_pending()
    result.refresh()
    assert result.status is TaskResultStatus.FAILED
    assert result.errors[0].exception_class is ValueError
    assert "no luck" in result.errors[0].traceback
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value


def test_a_task_that_will_be_retried_is_ready_again():
    """Between two attempts a result is READY and holds the errors so far."""
    result = tasks.fails.enqueue("later")
    run_pending()
    result.refresh()
    assert (result.status, len(result.errors), result.attempts) == (TaskResultStatus.READY, 1, 1)


def test_get_result_finds_the_task_and_refuses_another():
    """A result is got back through its own task, with the very function."""
    result = tasks.string_length.enqueue("x")
    assert tasks.string_length.get_result(result.id).task.func is tasks.string_length.func


@pytest.mark.parametrize("result_id", ["", "nothing", "x" * 500, "0192f1a0-0000-7000-8000-000000000000"])
def test_an_unknown_or_malformed_id_does_not_exist(result_id):
    """Any id that is none of ours is TaskResultDoesNotExist."""
    with pytest.raises(TaskResultDoesNotExist):
        tasks.string_length.get_result(result_id)


@pytest.mark.parametrize("text", ["raise KeyError('MAIL_URL')", "def report(:", "import no_such_module"])
def test_a_task_whose_module_cannot_be_imported_waits(admin_client, tmp_path, monkeypatch, text):
    """As one that is not there yet: the next deploy may mend it. The admin shows its job all the same."""
    (tmp_path / "broken_tasks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    sent = tasks.echo.enqueue(1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE treadle_job SET task = 'broken_tasks.report'")
    run_pending()
    assert (job(sent.id).state, job(sent.id).row.attempt) == ("scheduled", 0)
    assert admin_client.get(f"/admin/django_worker/sendfunction/{sent.id}/change/").status_code == 200
    with pytest.raises(TaskResultDoesNotExist):
        tasks.echo.get_result(sent.id)


def test_a_job_of_an_alias_that_is_not_there_waits(settings):
    """An older worker that shares the database may take it, before it is replaced by one that knows the alias."""
    known = settings.TASKS
    settings.TASKS = {**known, "mail": {"BACKEND": OURS, "QUEUES": []}}
    sent = tasks.echo.using(backend="mail").enqueue(1)
    settings.TASKS = known
    run_pending()
    assert (job(sent.id).state, job(sent.id).row.attempt) == ("scheduled", 0)


def test_async_twins_send_and_look():
    """aenqueue and aget_result do the same for a coroutine, and an async function runs."""
    result = tasks.doubles.enqueue(21)
    run_pending()
    result.refresh()
    assert result.return_value == 42


@pytest.mark.django_db(transaction=True)
def test_aenqueue_in_an_event_loop():
    """aenqueue works where a loop runs."""

    async def send():
        result = await tasks.string_length.aenqueue("four")
        return await tasks.string_length.aget_result(result.id)

    assert asyncio.run(send()).status is TaskResultStatus.READY


def test_run_after_defers():
    """A task with run_after in the future waits, and one whose time has come runs."""
    later = tasks.string_length.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")
    now = tasks.string_length.using(run_after=timezone.now() - timedelta(hours=1)).enqueue("now")
    assert [job.id for job in run_pending()] == [now.id]
    later.refresh()
    assert later.status is TaskResultStatus.READY


def test_the_highest_priority_runs_first():
    """Among ready tasks priority decides."""
    low = tasks.string_length.using(priority=-5).enqueue("low")
    high = tasks.string_length.using(priority=5).enqueue("high")
    assert [job.id for job in run_pending()] == [high.id, low.id]


def test_the_context_reports_and_knows_its_attempt():
    """A task with takes_context is given the framework's context, which also reports."""
    result = tasks.reports.enqueue(2)
    (job,) = run_pending()
    assert [message.body for message in job.messages] == ["1 of 2, attempt 1", "2 of 2, attempt 1"]
    assert (job.progress.done, job.progress.total) == (2, 2)
    result.refresh()
    assert result.return_value == 2


@pytest.mark.parametrize("argument", [float("nan"), {"rows": [1, {2: "two"}]}])
def test_what_json_would_change_is_refused(argument):
    """NaN and keys that are no strings are refused with the path, where the framework would let them through."""
    with pytest.raises(ValueError, match=r"args\[0\]"):
        tasks.string_length.enqueue(argument)
    assert run_pending() == []


def test_an_unsupported_type_is_the_frameworks_type_error():
    """A type that JSON has not is refused as the framework does it."""
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.string_length.enqueue(object())


def test_arguments_that_do_not_fit_are_refused_at_enqueue():
    """A call that could not run is a TypeError where it is made."""
    with pytest.raises(TypeError, match="string_length"):
        tasks.string_length.enqueue("one", "two")
    assert run_pending() == []


def test_signals_are_sent_with_the_class_as_sender(caplog):
    """task_enqueued, task_started and task_finished come in order, from the backend's class."""
    seen = []

    def listen(sender, task_result, signal, **extra):
        seen.append((sender.__name__, task_result.status.name))

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(listen)
    tasks.string_length.enqueue("x")
    run_pending()
    for signal in (task_enqueued, task_started, task_finished):
        signal.disconnect(listen)
    assert seen == [("WorkerBackend", "READY"), ("WorkerBackend", "RUNNING"), ("WorkerBackend", "SUCCESSFUL")]


def test_the_traceback_of_an_error_begins_in_the_task():
    """Nobody has to read how we came there."""
    result = tasks.fails_at_once.enqueue("x")
    run_pending()
    result.refresh()
    assert result.errors[0].traceback.splitlines()[1].endswith("in fails_at_once")


def test_a_back_off_that_waits_for_ever_ends_the_task():
    """task_finished is sent: there is no further attempt that could send it."""
    seen = []

    def listen(task_result, **extra):
        seen.append(task_result.status)

    task_finished.connect(listen)
    result = tasks.gives_up.enqueue()
    run_pending()
    task_finished.disconnect(listen)
    result.refresh()
    assert (seen, result.status) == ([TaskResultStatus.FAILED], TaskResultStatus.FAILED)


def test_what_a_task_raises_is_told_as_the_framework_knows_it(tmp_path):
    """A snooze is neither an error nor an attempt, a retry is both, and a rejection ends the task with its reason."""
    result = tasks.step.enqueue(str(tmp_path / "runs"))
    told = []
    for _ in range(4):
        run_pending()
        result.refresh()
        told.append((result.status.name, result.attempts, len(result.errors)))
    assert told == [("READY", 0, 0), ("READY", 1, 1), ("READY", 1, 1), ("FAILED", 2, 2)]
    assert [error.exception_class for error in result.errors] == [ConnectionError, Reject]
    assert "no such account" in result.errors[1].traceback


def test_the_end_is_told_once_whatever_came_before(tmp_path):
    """task_finished is sent for neither a snooze nor a retry; task_started for each run."""
    seen = []

    def listen(task_result, signal, **extra):
        seen.append(("started" if signal is task_started else "finished", task_result.status.name))

    for signal in (task_started, task_finished):
        signal.connect(listen)
    tasks.step.enqueue(str(tmp_path / "runs"))
    for _ in range(4):
        run_pending()
    for signal in (task_started, task_finished):
        signal.disconnect(listen)
    assert seen == [("started", "RUNNING")] * 4 + [("finished", "FAILED")]


@pytest.mark.parametrize(
    ("name", "status"), [("OSError", "READY"), ("ConnectionResetError", "FAILED"), ("ValueError", "FAILED")]
)
def test_classes_of_errors_say_what_is_tried_again(name, status):
    """Given as a list or as one class; `give_up_on` wins."""
    result = tasks.fails_with.enqueue(name)
    run_pending()
    result.refresh()
    assert result.status.name == status


def test_what_belongs_to_the_function_is_no_option_of_a_send():
    """A job's row cannot carry it; what it can is kept beside it."""
    for name in ("retry_on", "give_up_on", "backoff", "takes_context"):
        with pytest.raises(InvalidTask, match=f"fails_with: {name} belongs to the function; set it at decoration"):
            tasks.fails_with.options(**{name: OSError})
    other = tasks.fails_with.options(max_attempts=1)
    assert (other.retry_on, other.give_up_on, other.max_attempts) == ((OSError,), (ConnectionError,), 1)
    assert hash(other) != hash(tasks.fails_with)


def test_wrong_options_of_a_task_are_refused():
    """An option that Treadle does not know, or a value that it cannot keep, is refused at decoration."""
    from django_worker import task

    with pytest.raises(InvalidTask, match="max_attempts must be a whole number"):
        task(max_attempts=0)(tasks.not_a_task)
    with pytest.raises(InvalidTask, match="timeout_s=5 cannot be kept on pool 'threads'"):
        task(timeout_s=5, pool="threads")(tasks.not_a_task)
    with pytest.raises(InvalidTask, match=r"not_a_task: retry_on takes classes of Exception, .* got 'OSError'"):
        task(retry_on="OSError")(tasks.not_a_task)
    with pytest.raises(InvalidTask, match="unique_key must be a text of 1 to 200 characters"):
        task(unique_key="")(tasks.not_a_task)
    with pytest.raises(InvalidTask, match="not_a_task: redact names 'password', which is no parameter"):
        task(redact=("password",))(tasks.not_a_task)
    with pytest.raises(TypeError):
        task(max_attempt=2)(tasks.not_a_task)


def test_enqueue_of_a_job_whose_key_is_taken_gives_the_result_that_is_there():
    """With its arguments and its errors so far; nothing is told to who listens for what is enqueued."""
    told = []
    keyed = tasks.fails.options(unique_key="k")
    first = keyed.enqueue("once")
    run_pending()
    task_enqueued.connect(lambda **extra: told.append(extra), weak=False, dispatch_uid="test")
    second = keyed.enqueue("twice")
    task_enqueued.disconnect(dispatch_uid="test")
    assert (second.id, second.args, len(second.errors), told) == (first.id, ["once"], 1, [])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("unique_key", "echo:{}".format),
        ("expires_after", lambda n: timedelta(seconds=n)),
        ("result_ttl_s", lambda n: n),
    ],
)
def test_an_option_for_one_send_is_not_kept(option, value):
    """A site that makes a key for each request, or has so much time left for it, does not grow by it."""
    known = len(site().registry._cores)
    for number in range(1, 6):
        tasks.echo.options(**{option: value(number)}).enqueue(number)
    assert len(site().registry._cores) <= known + 1


def test_of_limits_for_one_send_few_are_kept(monkeypatch):
    """A site that computes one for each request does not grow by it for ever."""
    monkeypatch.setattr(worker_task, "MOST_CORES", 10)
    for number in range(30):
        assert site().registry.core(tasks.echo.options(timeout_s=1 + number)).settings.timeout_s == 1 + number
    assert len(site().registry._cores) <= 10


@pytest.mark.parametrize(("option", "instead"), [("QUEUES", "beside OPTIONS"), ("URL_PREFIX", "include")])
def test_an_option_that_has_another_place_in_django_is_refused_with_that_place(option, instead):
    """As that of queues, which is the framework's."""
    with pytest.raises(ImproperlyConfigured, match=f"{option} is no option in Django: .*{instead}"):
        WorkerBackend("default", {"OPTIONS": {option: ["mail"]}})


def test_an_unknown_setting_is_refused_with_a_suggestion(settings):
    """A wrong key in OPTIONS is ImproperlyConfigured and names the near one."""
    settings.TASKS = {
        "default": {"BACKEND": "django_worker.backend.WorkerBackend", "OPTIONS": {"CONCURENCY": 2}},
    }
    with pytest.raises(ImproperlyConfigured, match="did you mean 'CONCURRENCY'"):
        task_backends["default"]


def test_a_queue_that_is_not_listed_is_refused(settings):
    """With QUEUES given, another queue is InvalidTask."""
    settings.TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": ["mail"]}}
    with pytest.raises(InvalidTask, match="default"):
        tasks.string_length.enqueue("x")
    assert tasks.string_length.using(queue_name="mail").enqueue("x").task.queue_name == "mail"


def test_a_result_outlives_its_queue(settings):
    """A result can be got although its queue has left the settings since."""
    result = tasks.string_length.using(queue_name="mail").enqueue("x")
    settings.TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": ["default"]}}
    assert tasks.string_length.get_result(result.id).task.queue_name == "mail"


def test_a_receiver_that_raises_does_not_change_the_outcome():
    """Who listens to the framework's signals cannot fail a task that has succeeded."""

    def fail(**extra):
        raise ValueError("a receiver is broken")

    task_finished.connect(fail)
    result = tasks.string_length.enqueue("x")
    run_pending()
    task_finished.disconnect(fail)
    result.refresh()
    assert result.status is TaskResultStatus.SUCCESSFUL


def test_a_delay_counts_from_the_send():
    """`run_after` may be a timedelta, as Django's reference says: of each send, not of the `using`."""
    later = tasks.string_length.using(run_after=timedelta(hours=1))
    before = timezone.now()
    result = later.enqueue("later")
    assert later.run_after == timedelta(hours=1)
    assert (
        before + timedelta(hours=1) <= as_datetime(job(result.id).row.run_at_us) <= timezone.now() + timedelta(hours=1)
    )


def test_a_delay_is_a_time_to_another_backend(settings):
    """Which could not check it: a test's settings may name a Dummy one."""
    settings.TASKS = {"default": {"BACKEND": DUMMY}}
    later = tasks.string_length.using(run_after=timedelta(hours=1))
    assert timezone.now() < later.run_after <= timezone.now() + timedelta(hours=1)


def test_without_time_zones_times_are_those_of_the_site(settings):
    """Naive in and out, in TIME_ZONE, as Django's own are then."""
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    now = timezone.now()
    result = tasks.string_length.using(run_after=now + timedelta(hours=1)).enqueue("later")
    assert now <= result.enqueued_at <= timezone.now()
    assert run_pending() == []


def test_a_task_that_was_decorated_for_another_backend_is_sent_and_run(settings):
    """Its alias names ours by now: with the framework's options, and none of ours."""
    ours, settings.TASKS = settings.TASKS, {"default": {"BACKEND": DUMMY}}
    foreign = FrameworkTask(
        priority=7, func=tasks.string_length.func, queue_name="default", backend="default", takes_context=False,
        run_after=None,
    )  # fmt: skip
    settings.TASKS = ours
    result = foreign.enqueue("abc")
    assert [send_function(foreign, "ab").row.priority, job(result.id).row.max_attempts] == [7, 1]
    assert [ran.result() for ran in run_pending()] == [3, 2]


def test_a_task_of_ours_is_refused_while_its_alias_has_another_backend(settings):
    """And the error names that one."""
    settings.TASKS = {"default": {"BACKEND": DUMMY}}
    with pytest.raises(NotATask, match=r"string_length belongs to .*DummyBackend, not to Treadle"):
        send_function(tasks.string_length, "x")
    assert tasks.string_length.enqueue("x").status is TaskResultStatus.READY


@pytest.mark.django_db(transaction=True)
def test_receivers_that_are_coroutines_are_awaited_by_aenqueue():
    """In the loop of the sender, once the job is kept."""
    seen = []

    async def listen(sender, task_result, **extra):
        kept = await tasks.string_length.aget_result(task_result.id)
        seen.append((sender, asyncio.get_running_loop(), kept.id))

    async def send():
        result = await tasks.string_length.aenqueue("four")
        return asyncio.get_running_loop(), result.id

    task_enqueued.connect(listen)
    loop, id_ = asyncio.run(send())
    task_enqueued.disconnect(listen)
    assert seen == [(WorkerBackend, loop, id_)]


def test_for_an_id_that_could_be_none_no_database_is_asked():
    """So it does not exist in a coroutine, too, where no database may be asked."""

    async def look():
        with pytest.raises(TaskResultDoesNotExist):
            tasks.string_length.get_result("123")

    asyncio.run(look())


def test_options_and_using_go_together():
    """Whichever comes first; both make a new task."""
    at = timezone.now()
    first = tasks.fails.options(max_attempts=7).using(priority=5, run_after=at)
    second = tasks.fails.using(priority=5, run_after=at).options(max_attempts=7)
    assert first == second
    assert (first.max_attempts, first.priority, first.run_after) == (7, 5, at)
    assert (tasks.fails.max_attempts, tasks.fails.priority) == (3, 0)


def test_tasks_and_results_are_pickled():
    """On every version of Django, and with options whose values could not be."""
    changed = tasks.fails.options(max_attempts=7)
    assert pickle.loads(pickle.dumps(changed)) == changed
    result = changed.enqueue("x")
    assert pickle.loads(pickle.dumps(result)).task == result.task


def test_in_the_mode_immediate_the_result_tells_all(settings):
    """With the errors, and `task_enqueued` before the run."""
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": [], "OPTIONS": {"MODE": "immediate"}}}
    told = []

    def listen(task_result, **extra):
        told.append(task_result.status.name)

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(listen)
    result = tasks.fails_at_once.enqueue("no luck")
    for signal in (task_enqueued, task_started, task_finished):
        signal.disconnect(listen)
    assert told == ["READY", "RUNNING", "FAILED"]
    assert (len(result.errors), result.attempts, result.is_finished) == (1, 1, True)


@pytest.mark.parametrize(("value", "error"), [("object()", TypeError), ("float('nan')", PayloadError)])
def test_a_result_that_json_cannot_carry_fails_the_task(value, error):
    """With the framework's own error where that knows no such type either."""
    result = tasks.evaluates.enqueue(value)
    run_pending()
    result.refresh()
    assert [result.status.name, result.errors[0].exception_class] == ["FAILED", error]


def test_each_alias_has_its_results_and_one_state_for_all_threads(settings):
    """The framework makes a backend for each thread; what they share is made once for each alias."""
    settings.TASKS = {
        "default": {"BACKEND": OURS, "QUEUES": []},
        "mail": {"BACKEND": OURS, "QUEUES": ["mail"]},
        "dummy": {"BACKEND": DUMMY},
    }
    result = tasks.string_length.using(backend="mail", queue_name="mail").enqueue("abc")
    assert (result.backend, site("mail").sent()[0].job_id) == ("mail", result.id)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lambda: task_backends["mail"]).result() is not task_backends["mail"]
        assert other.submit(lambda: site("mail")).result() is site("mail")
    assert site("mail") is not site("default")
    assert our_aliases() == ["default", "mail"]


@pytest.mark.parametrize(("wrong", "meant"), [("max_attempt", "max_attempts"), ("queue", "queue_name")])
def test_an_option_that_there_is_not_is_refused_with_the_near_one(wrong, meant):
    """At decoration and for one send."""
    from django_worker import task

    for use in (lambda: task(**{wrong: 1})(tasks.not_a_task), lambda: tasks.echo.options(**{wrong: 1})):
        with pytest.raises(TypeError, match=f"unknown option '{wrong}', did you mean '{meant}'"):
            use()


@pytest.mark.skipif(django.VERSION < (6, 1), reason="the decorator of Django takes options from 6.1 on")
def test_the_decorator_of_django_takes_our_options():
    """As `django_worker.task` does on every version."""
    from django.tasks import task

    made = task(max_attempts=5, timeout_s=30)(tasks.string_length.func)
    assert (made.max_attempts, made.timeout_s) == (5, 30)
