"""What may be run: tasks, their options, their arguments, and what a running one is given."""

import asyncio
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests import apps
from tests.apps import Holder, Point

from treadle import Backoff, codec, cores
from treadle.clock import US_PER_S
from treadle.errors import InvalidTask, PayloadError, PayloadTooLarge, UnknownTask
from treadle.job import Job, Progress
from treadle.states import State
from treadle.task import PROGRESS_INTERVAL_S, Context, Options, Registry, Task
from treadle.testing import ManualClock

LIMIT = 1024


@dataclass
class Stay:
    who: str
    since: datetime
    price: Decimal
    points: list[Point]


def plain(a: int, b: int = 2, *, c: int = 3) -> int:
    return a + b + c


async def soon() -> int:
    return 7


def with_context(context: Context, name: str) -> str:
    return name


def shifted(point: Point, by: float = 1) -> Point:
    return Point(point.x + by, point.y + by)


def maybe(point: Point | None, points: list[Point]) -> int:
    return len(points) + (point is not None)


def variadic(*points: Point, **named: Point) -> int:
    return len(points) + len(named)


def stayed(stay: Stay) -> Stay:
    return stay


def held(holder: Holder) -> Holder:
    return holder


class Group:
    @staticmethod
    def member(number: int) -> int:
        return number


def round_trip(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The call's value after its arguments were kept and read."""
    task = Task(function)
    given, named = task.decode_arguments(task.encode_arguments(args, kwargs, LIMIT))
    return function(*given, **named)


# What can be a task


def test_a_task_is_named_by_its_import_path() -> None:
    """Module and qualified name, or the name that was given."""
    assert Task(plain).name == f"{__name__}.plain"
    assert Task(Group.member).name == f"{__name__}.Group.member"
    assert Task(plain, name="reports.monthly").name == "reports.monthly"


def test_a_task_can_be_called_as_if_it_were_not_decorated() -> None:
    """Calling it runs the function here, and it looks like the function."""
    assert apps.string_length("abc") == 3
    assert apps.string_length.__name__ == "string_length"
    assert inspect.signature(Task(plain)) == inspect.signature(plain)


def test_a_task_with_context_can_be_called_without_one() -> None:
    """A direct call gets a context that reports to nobody."""
    assert apps.count_to(3) is None
    assert apps.tell_attempt() == 1
    assert apps.tell_labels() == {}


def test_an_async_task_can_be_awaited() -> None:
    """Calling it gives the coroutine."""
    assert asyncio.run(Task(soon)()) == 7  # type: ignore[arg-type]


def test_a_task_travels_by_its_name() -> None:
    """Unpickled it is the very task of its module."""
    assert pickle.loads(pickle.dumps(apps.string_length)) is apps.string_length


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: 1, "a lambda has no name that a worker could import"),
        (7, "7 is not a function; decorate a function defined with def"),
        (Group, "is not a function"),
    ],
    ids=["lambda", "number", "class"],
)
def test_what_a_worker_could_not_import_is_refused(function: Any, reason: str) -> None:
    """InvalidTask at decoration, with the reason."""
    with pytest.raises(InvalidTask, match=reason):
        Registry().task(function)


def test_a_nested_function_is_refused() -> None:
    """The message names it and says what to do."""

    def inner() -> None: ...

    with pytest.raises(InvalidTask, match=r"<locals>.inner is defined inside a function.*; move it to module level"):
        Registry().task(inner)


def test_a_function_of_a_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was typed into an interactive session no other process can import."""
    monkeypatch.setattr("treadle.task.module_name", lambda name: "__main__")
    with pytest.raises(InvalidTask, match="plain is defined in an interactive session"):
        Task(plain)


def test_a_context_needs_a_parameter() -> None:
    """`takes_context` on a function without a first parameter is a mistake."""
    with pytest.raises(InvalidTask, match="takes_context=True, but there is no first parameter for it"):
        Task(soon, takes_context=True)


# Options


def test_the_pool_follows_from_the_function() -> None:
    """Plain functions run in processes, async ones as coroutines, unless the task says otherwise."""
    assert Task(plain).settings.pool == "processes"
    assert Task(soon).settings.pool == "coroutines"
    assert Task(plain, pool="threads").settings.pool == "threads"


def test_without_a_gil_threads_run_what_has_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """At decoration and for one send, but where a pool was named."""
    monkeypatch.setattr(cores, "has_gil", lambda: False)
    task = Task(plain)
    assert task.settings.pool == "threads"
    assert task.options(timeout_s=5).settings.pool == "processes"
    assert task.options(timeout_s=5).options(timeout_s=None).settings.pool == "threads"
    assert Task(plain, cores=2).settings.pool == "processes"
    assert Task(plain, pool="inline").options(priority=1).settings.pool == "inline"
    assert task.options(pool="processes").options(priority=1).settings.pool == "processes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempt": 3}, "unknown option 'max_attempt', did you mean 'max_attempts'?"),
        ({"pool": "process"}, "unknown pool 'process', did you mean 'processes'?"),
        ({"pool": "coroutines"}, "'coroutines' runs async functions; use 'processes' or 'threads'"),
        ({"pool": None}, "unknown pool None"),
        ({"priority": 101}, "priority must be a whole number from -100 to 100, got 101"),
        ({"priority": "high"}, "priority must be a whole number from -100 to 100, got 'high'"),
        ({"priority": True}, "priority must be a whole number"),
        ({"max_attempts": 0}, "max_attempts must be a whole number from 1 to 1000000, got 0"),
        ({"max_crashes": -1}, "max_crashes must be a whole number from 0 to 1000000, got -1"),
        ({"queue": ""}, "queue must be a name of 1 to 200 characters, got ''"),
        ({"queue": 7}, "queue must be a name of 1 to 200 characters, got 7"),
        ({"queue": "x" * 201}, "queue must be a name of 1 to 200 characters, got 'xxx"),
        ({"queue": "a\0"}, "queue must be a name of 1 to 200 characters, got 'a\\x00'"),
        ({"labels": {"tenant": "\0"}}, "labels are strings by name, got {'tenant': '\\x00'}"),
        ({"unique_key": "\ud800"}, "unique_key must be a text of 1 to 200 characters, or None, got '\\ud800'"),
        ({"backoff": 7}, "backoff must be callable, got 7"),
        ({"retry_on": "OSError"}, "retry_on takes classes of Exception, as retry_on=(OSError,), got 'OSError'"),
        ({"retry_on": (OSError, ValueError("x"))}, "retry_on takes classes of Exception"),
        ({"give_up_on": [SystemExit]}, "give_up_on takes classes of Exception, as give_up_on=(OSError,), got <class"),
        ({"give_up_on": None}, "give_up_on takes classes of Exception, as give_up_on=(OSError,), got None"),
        ({"run_after": datetime(2026, 1, 1)}, "run_after must know its time zone"),
        ({"run_after": 5}, "run_after"),
        ({"expires_after": 60}, "expires_after is a timedelta above 0 and of at most a hundred years, got 60"),
        ({"expires_after": timedelta(0)}, "expires_after is a timedelta above 0"),
        ({"expires_after": timedelta(days=40_000)}, "expires_after is a timedelta above 0 and of at most a hundred"),
        ({"labels": {"tenant": 7}}, "labels are strings by name"),
        ({"labels": None}, "labels are strings by name"),
        ({"timeout_s": 0}, "timeout_s must be a number of seconds above 0, or None, got 0"),
        ({"timeout_s": "60"}, "timeout_s must be a number of seconds above 0, or None, got '60'"),
        ({"timeout_s": True}, "timeout_s must be a number of seconds above 0, or None, got True"),
        ({"timeout_s": float("inf")}, "timeout_s must be a number of seconds above 0, or None, got inf"),
        ({"result_ttl_s": 0}, "result_ttl_s must be a number of seconds above 0, or None, got 0"),
        ({"memory_mb": -1}, "memory_mb must be a number of megabytes above 0, or None, got -1"),
        ({"memory_mb": float("nan")}, "memory_mb must be a number of megabytes above 0, or None, got nan"),
        ({"cores": 0}, "cores must be a whole number from 1 to 1000000, got 0"),
        ({"cores": 1.5}, "cores must be a whole number from 1 to 1000000, got 1.5"),
        (
            {"timeout_s": 60, "pool": "threads"},
            "timeout_s=60 cannot be kept on pool 'threads', whose calls cannot be ended; use pool='processes'",
        ),
        ({"cores": 1, "pool": "inline"}, "cores=1 cannot be kept on pool 'inline'"),
        ({"unique_key": ""}, "unique_key must be a text of 1 to 200 characters, or None, got ''"),
        ({"unique_key": 7}, "unique_key must be a text of 1 to 200 characters, or None, got 7"),
        ({"unique_key": "x" * 201}, "unique_key must be a text of 1 to 200 characters, or None, got 'xxx"),
        ({"concurrency_key": ""}, "concurrency_key must be a text of 1 to 200 characters, or None, got ''"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_option_is_refused_at_decoration(options: dict[str, Any], message: str) -> None:
    """The message names the function, the option and its value, and the near one for a misspelt name."""
    with pytest.raises(InvalidTask) as caught:
        Registry().task(**options)(plain)
    assert str(caught.value).startswith("plain: ")
    assert message in str(caught.value)


def test_an_async_function_runs_as_a_coroutine() -> None:
    """Other pools cannot run it, and the message names the one that can."""
    with pytest.raises(InvalidTask, match="an async function cannot run on 'threads'; use pool='coroutines'"):
        Task(soon, pool="threads")


def test_an_async_function_has_no_limits() -> None:
    """The message names what to do instead."""
    with pytest.raises(InvalidTask, match=r"timeout_s=5 .* 'coroutines', .*; use asyncio.timeout inside the function"):
        Task(soon, timeout_s=5)
    with pytest.raises(InvalidTask, match=r"memory_mb=5 .*; make it a plain function with pool='processes'"):
        Task(soon, memory_mb=5)


def test_limits_are_set_at_decoration_or_for_a_send() -> None:
    """A send may take one away again, and cannot put one where it is not kept."""
    task = Task(plain, timeout_s=60, memory_mb=512, cores=2)
    assert (task.settings.timeout_s, task.settings.memory_mb, task.settings.cores) == (60, 512, 2)
    assert task.options(timeout_s=None, cores=1).settings.timeout_s is None
    with pytest.raises(InvalidTask, match="memory_mb=9 cannot be kept on pool 'threads'"):
        Task(plain, pool="threads").options(memory_mb=9)


def test_options_make_another_task() -> None:
    """`options` leaves the task as it is, and its copy is the same task for a registry."""
    registry = Registry()
    task = registry.task(plain)
    urgent = task.options(priority=50, queue="mail")
    assert (task.settings.priority, urgent.settings.priority, urgent.settings.queue) == (0, 50, "mail")
    assert registry.knows(urgent)


@pytest.mark.parametrize(
    ("options", "error", "is_tried_again"),
    [
        ({}, ValueError(), True),
        ({}, asyncio.CancelledError(), False),
        ({"retry_on": OSError}, ConnectionError(), True),
        ({"retry_on": [OSError]}, ValueError(), False),
        ({"retry_on": ()}, ValueError(), False),
        ({"give_up_on": (OSError, KeyError)}, KeyError(), False),
        ({"give_up_on": (OSError, KeyError)}, ValueError(), True),
        ({"retry_on": (OSError,), "give_up_on": ConnectionError}, ConnectionResetError(), False),
    ],
    ids=repr,
)
def test_classes_of_errors_say_what_is_tried_again(
    options: dict[str, Any], error: BaseException, is_tried_again: bool
) -> None:
    """Each with its subclasses, given as one, as a tuple or as a list; `give_up_on` wins."""
    assert Task(plain, **options).settings.retries(error) is is_tried_again


@pytest.mark.parametrize(
    "options", [{"takes_context": True}, {"backoff": Backoff.none()}, {"retry_on": OSError}, {"give_up_on": OSError}]
)
def test_what_belongs_to_the_function_is_not_an_option_of_a_send(options: dict[str, Any]) -> None:
    """A row cannot carry it."""
    with pytest.raises(InvalidTask, match=f"{next(iter(options))} belongs to the function; set it at decoration"):
        Task(plain).options(**options)


def test_wrong_options_of_a_send_are_refused() -> None:
    """The same checks as at decoration, with the task's name."""
    with pytest.raises(InvalidTask, match=r"test_task.plain: unknown option 'prioritty', did you mean 'priority'\?"):
        Task(plain).options(prioritty=1)


def test_run_after_is_a_delay_or_a_moment() -> None:
    """A timedelta counts from now, a datetime is the moment itself."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert Options().run_at_us(5) == 5
    assert Options(run_after=timedelta(seconds=2)).run_at_us(5) == 2 * US_PER_S + 5
    assert Options(run_after=moment).run_at_us(5) == round(moment.timestamp()) * US_PER_S


def test_expires_after_counts_from_the_send() -> None:
    """Without it a job may wait as long as it must."""
    assert Options().expires_at_us(5) is None
    assert Options(expires_after=timedelta(seconds=2)).expires_at_us(5) == 2 * US_PER_S + 5


def test_aliases_are_a_tuple_of_names() -> None:
    """A bare string would be taken letter by letter, so it is refused."""
    with pytest.raises(InvalidTask):
        Registry().task(aliases="old.name")(plain)


# Arguments


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"d": 1}, "got an unexpected keyword argument 'd'"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error(args: Any, kwargs: Any, problem: str) -> None:
    """`bind` raises where it is called, and names the task with its signature."""
    with pytest.raises(TypeError) as caught:
        Task(plain).bind(*args, **kwargs)
    assert str(caught.value) == f"{__name__}.plain(a: int, b: int = 2, *, c: int = 3) -> int: {problem}"


def test_the_sender_does_not_pass_the_context() -> None:
    """The worker adds it."""
    task: Task[..., str] = Task(with_context, takes_context=True)
    assert task.bind("ann").args == ("ann",)
    with pytest.raises(TypeError):
        task.bind(Context.detached(), "ann")


def test_a_bound_call_does_not_show_its_arguments() -> None:
    """A repr ends up in logs, and arguments may be secret."""
    assert "hunter2" not in repr(Task(plain).bind("hunter2"))  # type: ignore[arg-type]


def test_arguments_come_back_as_they_were_sent() -> None:
    """Positional and named ones, with the types that the codec keeps."""
    task = Task(plain)
    kept = task.encode_arguments((1, b"x"), {"c": date_of_birth}, LIMIT)
    assert task.decode_arguments(kept) == ((1, b"x"), {"c": date_of_birth})


date_of_birth = datetime(1990, 1, 2, tzinfo=UTC)


def test_a_bad_argument_is_named_with_its_path() -> None:
    """The path begins at `args` or `kwargs`."""
    with pytest.raises(PayloadError, match=r'^kwargs\["c"\]\[3\] is of type set'):
        Task(plain).encode_arguments((1,), {"c": [0, 1, 2, {3}]}, LIMIT)


def test_arguments_over_the_limit_are_refused() -> None:
    """The message names the task and both sizes."""
    with pytest.raises(PayloadTooLarge, match=r"the arguments of .*plain: 2,0\d\d bytes as JSON.* 1,024"):
        Task(plain).encode_arguments(("x" * 2000,), {}, LIMIT)


@pytest.mark.parametrize(
    "payload",
    ['{"args":[],"kwargs":{}}', '{"args":[1,2,3],"kwargs":{}}', "{}", "[]", '{"args":1,"kwargs":{}}', "damaged"],
)
def test_stored_arguments_that_do_not_fit_are_a_payload_error(payload: str) -> None:
    """The function may have changed since, and a row may be damaged."""
    with pytest.raises(PayloadError):
        Task(plain).decode_arguments(payload)


# Dataclasses


def test_a_dataclass_is_rebuilt_where_it_is_annotated() -> None:
    """As an argument, alone, optional or in a list."""
    assert round_trip(shifted, Point(1, 2), by=2) == Point(3, 4)
    assert round_trip(maybe, None, [Point(1, 2)]) == 1
    assert round_trip(maybe, Point(1, 2), points=[]) == 1


def test_a_dataclass_may_hold_what_the_codec_keeps() -> None:
    """Datetimes, decimals and other dataclasses inside."""
    stay = Stay("ann", datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.10"), [Point(1, 2)])
    assert round_trip(stayed, stay) == stay


def test_a_dataclass_is_rebuilt_in_variadic_parameters() -> None:
    """`*points: Point` annotates each of them."""
    assert round_trip(variadic, Point(1, 2), Point(3, 4), home=Point(5, 6)) == 3


def test_a_dataclass_is_rebuilt_from_a_result() -> None:
    """Where the return is annotated with it."""
    task = Task(shifted)
    assert task.decode_result(task.encode_result(Point(1, 2), LIMIT)) == Point(1, 2)


def test_a_row_does_not_choose_a_class() -> None:
    """A parameter without the annotation gets plain data, whatever the row says."""
    task = Task(plain)
    payload = '{"args":[{"$treadle":"dict","value":{"$treadle":"Point","x":1}}],"kwargs":{}}'
    assert task.decode_arguments(payload) == (({"$treadle": "Point", "x": 1},), {})


def test_a_dataclass_that_fits_no_longer_is_a_payload_error() -> None:
    """A field may have been renamed since."""
    with pytest.raises(PayloadError, match="do not fit"):
        Task(shifted).decode_arguments('{"args":[{"x":1,"z":2}],"kwargs":{}}')


@pytest.mark.parametrize("inside", [object(), {1j}, float("nan")], ids=["object", "complex", "nan"])
def test_what_a_dataclass_cannot_carry_is_a_payload_error(inside: Any) -> None:
    """The fields of a dataclass follow the same rules as any value."""
    with pytest.raises(PayloadError, match=r"args\[0\]"):
        Task(held).encode_arguments((Holder(inside),), {}, LIMIT)
    with pytest.raises(PayloadError, match="the result of"):
        Task(held).encode_result(Holder(inside), LIMIT)


def test_a_result_that_json_cannot_carry_is_named() -> None:
    """With the task and the path to the value."""
    with pytest.raises(PayloadError, match=r"the result of .*plain\[0\] is of type set"):
        Task(plain).encode_result([{1}], LIMIT)  # type: ignore[arg-type]


# The registry


def test_tasks_are_found_by_name_and_alias() -> None:
    """Old jobs carry old names."""
    registry = Registry()
    task = registry.task(name="new", aliases=("old",))(plain)
    assert registry.find("new") is registry.find("old") is task
    assert set(registry) == {"new", "old"}
    assert len(registry) == 2


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """UnknownTask, with a suggestion."""
    with pytest.raises(UnknownTask, match=r"no task is named 'tests.by_nam' here, did you mean 'tests.by_name'\?"):
        apps.app.registry.find("tests.by_nam")


def test_two_tasks_cannot_have_one_name() -> None:
    """The message names both functions, and nothing of the second one is kept."""
    registry = Registry()
    registry.task(name="taken")(plain)
    with pytest.raises(InvalidTask, match=r"two tasks are named 'taken': .*plain and .*shifted"):
        registry.task(name="free", aliases=("taken",))(shifted)
    assert set(registry) == {"taken"}


def test_a_module_may_be_loaded_again() -> None:
    """The same function under the same name is no conflict: reloaders do that."""
    registry = Registry()
    registry.task(plain)
    registry.task(plain)
    assert len(registry) == 1


def test_a_registry_knows_only_its_own() -> None:
    """Neither a plain function nor the task of another registry."""
    registry = Registry()
    registry.task(plain)
    assert registry.knows(registry.find(f"{__name__}.plain"))
    assert not registry.knows(plain)
    assert not registry.knows(apps.string_length)


# The context


def test_a_context_tells_of_its_job() -> None:
    """Id, attempt and labels."""
    job = Job(id="7", task="t", state=State.RUNNING, payload="", attempt=2, labels={"tenant": "acme"})
    context = Context(job, lambda report: None)
    assert (context.job_id, context.attempt, context.labels) == ("7", 2, {"tenant": "acme"})


def test_progress_is_reported_so_often_at_most() -> None:
    """Reports between are replaced by the next one, and `flush` delivers the last."""
    reports, clock = list[Any](), ManualClock()
    context = Context(None, reports.append, clock)
    for done in range(5):
        context.progress(done, 5)
    assert reports == [Progress(0, 5)]
    clock.advance(PROGRESS_INTERVAL_S)
    context.progress(5, 5, "done")
    context.progress(6, 5)
    context.flush()
    context.flush()
    assert reports == [Progress(0, 5), Progress(5, 5, "done"), Progress(6, 5)]


def test_messages_are_sent_at_once_as_json() -> None:
    """In order, none left out."""
    reports = list[Any]()
    context = Context(None, reports.append, ManualClock())
    context.send({"a": [1]})
    context.send("b")
    assert [codec.decode(report) for report in reports] == [{"a": [1]}, "b"]


@pytest.mark.parametrize("body", [{1}, float("nan"), "x" * 70_000], ids=["set", "nan", "large"])
def test_a_message_that_cannot_be_kept_is_refused(body: Any) -> None:
    """In the task, with the path to the value."""
    with pytest.raises(PayloadError, match=r"^the message"):
        Context.detached().send(body)


@pytest.mark.parametrize(
    "arguments",
    [(float("nan"),), (1, float("inf")), ("a lot",), (None,), (1, 2, None), (1, 2, "\udcff"), (1j,)],
    ids=repr,
)
def test_progress_that_cannot_be_kept_is_refused(arguments: Any) -> None:
    """In the task, where it is a mistake: the store could keep neither it nor what comes with it."""
    with pytest.raises((TypeError, ValueError)):
        Context.detached().progress(*arguments)
