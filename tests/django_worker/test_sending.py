"""send_function and its companions."""

import datetime
import uuid

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction

from django_worker import (
    accepted,
    asend_function,
    forget,
    job,
    jobs,
    pause,
    paused,
    pool,
    resume,
    run_pending,
    send_function,
    send_many,
    send_map,
    sent,
)
from django_worker.contract import TaskResultStatus
from django_worker.models import SendFunction
from django_worker.site import site
from tests.django_site import tasks
from treadle.errors import JobExpired, JobFailed, JobNotFound, NotATask, PayloadTooLarge, ResultExpired, WouldDeadlock
from treadle.job import Ending, Outcome
from treadle.states import State
from treadle.testing.store_contract import claim

pytestmark = pytest.mark.django_db


def test_the_job_and_the_result_of_the_framework_are_the_same():
    """send_function's job has the id and the state that get_result tells in Django's words."""
    handle = send_function(tasks.string_length, "hello")
    result = tasks.string_length.get_result(handle.id)
    assert (handle.id, handle.state, result.status) == (result.id, State.READY, TaskResultStatus.READY)


def test_send_function_takes_the_longer_list_of_types():
    """What send_function carries beyond JSON arrives as it was sent."""
    value = {"at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "id": uuid.UUID(int=5), "raw": b"\x00"}
    handle = send_function(tasks.echo, value)
    run_pending()
    assert handle.result() == value


def test_a_function_that_is_no_task_is_refused():
    """NotATask names the function and how to decorate it; nothing is sent."""
    with pytest.raises(NotATask, match="not_a_task is not a task: decorate it"):
        send_function(tasks.not_a_task)
    assert jobs() == []


def test_a_payload_over_the_limit_is_refused_with_both_sizes():
    """PayloadTooLarge tells the size, the limit and what to do."""
    with pytest.raises(PayloadTooLarge, match=r"2,000,\d+ bytes.*limit is 1,048,576.*reference"):
        send_function(tasks.string_length, "x" * 2_000_000)


def test_a_map_runs_its_parts_and_reduces():
    """send_map gives one job whose result is the reduced one and whose progress counts items."""
    handle = send_map(tasks.square, range(10), reduce=tasks.total, parts=3)
    run_pending()
    assert handle.result() == 285
    assert (handle.refresh().progress.done, handle.refresh().progress.total) == (10, 10)


def test_result_of_a_failed_job_raises_with_the_remote_traceback():
    """JobFailed has the traceback of the run as its cause."""
    handle = send_function(tasks.fails_at_once, "broken")
    run_pending()
    with pytest.raises(JobFailed, match="ValueError: broken") as caught:
        handle.result()
    assert "fails_at_once" in str(caught.value.__cause__)


def test_waiting_in_the_transaction_that_sent_it_is_refused():
    """result() inside the transaction would never end, and says so."""
    with pytest.raises(WouldDeadlock, match="transaction"):
        send_function(tasks.string_length, "x").result()


def test_a_job_that_has_not_started_is_cancelled():
    """cancel() of a waiting job is True, and the job never runs."""
    handle = send_function(tasks.string_length, "x")
    assert handle.cancel()
    assert run_pending() == []
    assert tasks.string_length.get_result(handle.id).status is TaskResultStatus.FAILED


def test_a_running_job_is_asked_to_end():
    """cancel() of a running job is True; the framework sees it run, and then fail as cancelled."""
    handle = send_function(tasks.string_length, "x")
    (row,) = claim(site().store, 1)
    assert handle.cancel()
    assert tasks.string_length.get_result(handle.id).status is TaskResultStatus.RUNNING
    assert handle.refresh().cancel_requested_at is not None
    site().store.finish([Ending.of(row, Outcome.cancelled(), 1, 0)])
    result = tasks.string_length.get_result(handle.id)
    assert (result.status, [error.exception_class_path for error in result.errors]) == (
        TaskResultStatus.FAILED, ["treadle.errors.JobCancelled"],
    )  # fmt: skip


def test_a_job_carries_the_limits_of_its_task():
    """Set at decoration or for one send."""
    assert send_function(tasks.square, 2).row.limits == {}
    limited = tasks.square.options(timeout_s=5, memory_mb=100, cores=2)
    assert job(send_function(limited, 2).id).row.limits == {"timeout_s": 5, "memory_mb": 100, "cores": 2}


def test_a_job_with_a_key_is_sent_once():
    """Whichever way it is sent: who sends another gets the one that is there."""
    keyed = tasks.square.options(unique_key="k")
    first = send_function(keyed, 2)
    ids = [send_function(keyed, 3).id, send_many([keyed.bind(4)])[0].id, keyed.enqueue(5).id]
    assert ids == [first.id] * 3
    assert [call.args for call in sent(tasks.square)] == [(2,)]


def test_jobs_with_a_concurrency_key_carry_it():
    """Set at decoration or for one send; waiting ones run one after the other."""
    keyed = tasks.square.options(concurrency_key="k")
    assert send_function(keyed, 2).row.concurrency_key == "k"
    assert job(keyed.enqueue(3).id).row.concurrency_key == "k"
    assert [job.result() for job in run_pending()] == [4, 9]


def test_a_key_is_taken_by_what_a_transaction_sends():
    """A rollback frees it, and a conflict leaves the transaction usable."""
    keyed = tasks.square.options(unique_key="k")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send_function(keyed, 2)
        1 / 0
    with transaction.atomic():
        first = send_function(keyed, 2)
        assert send_function(keyed, 3).id == first.id
        assert SendFunction.objects.get().id == first.id


def test_a_job_that_has_not_begun_in_time_has_failed():
    """The framework's errors tell of it, although there was no attempt."""
    handle = send_function(tasks.square.options(expires_after=datetime.timedelta(seconds=5)), 2)
    site().store.expire(handle.row.expires_at_us, 9)
    result = tasks.square.get_result(handle.id)
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 0)
    assert [error.exception_class for error in result.errors] == [JobExpired]


def test_sent_lists_the_calls_of_a_task():
    """sent() tells what was sent, with its arguments."""
    send_function(tasks.string_length, "one")
    send_function(tasks.square, 2)
    assert [(call.args, call.kwargs) for call in sent(tasks.string_length)] == [(("one",), {})]


def test_an_unknown_job_is_not_found():
    """job() of an id that is none raises JobNotFound."""
    with pytest.raises(JobNotFound):
        job("nothing")


def test_accepted_answers_202_with_a_signed_link(rf):
    """accepted() points to the job's status; the link holds no bare id."""
    handle = send_function(tasks.string_length, "x")
    response = accepted(rf.post("/"), handle)
    assert (response.status_code, response["Retry-After"]) == (202, "1")
    assert handle.id not in response["Location"]


def test_the_pool_computes_now_in_a_child():
    """pool.map runs a task's function or a plain one in child processes that know Django."""
    assert list(pool.map(tasks.string_length, ["a", "bb"])) == [1, 2]
    assert list(pool.map(len, ["ccc"])) == [3]
    pool.shutdown()


@pytest.mark.parametrize("mode", ["immediate", "collect"])
def test_the_modes_of_tests(settings, mode):
    """`immediate` runs inside the send; `collect` keeps until run_pending()."""
    options = {"MODE": mode}
    settings.TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": [], "OPTIONS": options}}
    handle = send_function(tasks.string_length, "abc")
    assert handle.state == (State.SUCCEEDED if mode == "immediate" else State.READY)
    run_pending()
    assert handle.result() == 3


def test_a_coroutine_looks_on_the_connection_of_its_request():
    """arefresh and aresult see what the request's own transaction has sent."""

    async def send_and_look():
        handle = await asend_function(tasks.string_length, "abc")
        await sync_to_async(run_pending)()
        return (await handle.arefresh()).state, await handle.aresult(5)

    assert async_to_sync(send_and_look)() == (State.SUCCEEDED, 3)


def test_many_calls_are_sent_together():
    """send_many takes the calls that a task's bind has checked."""
    handles = send_many([tasks.square.bind(2), tasks.square.bind(number=3)])
    run_pending()
    assert [handle.result() for handle in handles] == [4, 9]
    with pytest.raises(TypeError, match="square"):
        tasks.square.bind(1, 2)


def test_jobs_are_forgotten_by_their_labels():
    """The framework's result is there still, without arguments and without a value; the model has neither."""
    task = tasks.string_length.options(labels={"tenant": "acme"})
    handle = send_function(task, "abc")
    run_pending()
    assert forget(labels={"tenant": "acme"}).forgotten == 1
    result = task.get_result(handle.id)
    assert (result.status, result.args) == ("SUCCESSFUL", [])
    with pytest.raises(ResultExpired):
        result.return_value
    row = SendFunction.objects.get(pk=handle.id)
    assert (row.payload, row.result) == ("", None)


def test_queues_are_paused_and_resumed():
    """Of an alias, in the transaction of the caller."""
    pause("mail")
    send_function(tasks.string_length.using(queue_name="mail"), "abc")
    send_function(tasks.string_length, "ab")
    assert (list(paused()), [ran.queue for ran in run_pending()]) == (["mail"], ["default"])
    resume("mail")
    assert (paused(), [ran.queue for ran in run_pending()]) == ({}, ["mail"])
