"""An application at module level, as child processes need it, and its tasks."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests import functions
from treadle import Backoff, Context, Reject, Retry, Snooze, TaskTimeout, Treadle
from treadle.testing.pool_contract import AsyncFunctions, Functions

app = Treadle(os.environ.get("TREADLE_TEST_URL", "memory://"), concurrency=1)


def make_app() -> Treadle:
    """As `app="tests.apps:make_app()"` names it."""
    return app


not_an_app = 7


@dataclass
class Point:
    x: float
    y: float


@dataclass
class Holder:
    inside: Any


@app.task
def meet(folder: str, count: int, value: int) -> int:
    return functions.meet(folder, count, value)


@app.task
def string_length(text: str) -> int:
    return len(text)


@app.task(name="tests.by_name", aliases=("tests.old_name",))
def by_name() -> str:
    return "here"


@app.task(takes_context=True)
def told_headers(context: Context) -> dict[str, str]:
    return context.headers


@app.task(redact="email")
def greet(email: str, text: str) -> str:
    return f"{text}, {email}"


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def join_words(words: list[str]) -> str:
    return " ".join(words)


@app.task
def upper(word: str) -> str:
    return word.upper()


@app.task
def mirror(point: Point) -> Point:
    return Point(point.y, point.x)


@app.task
def fail(message: str) -> NoReturn:
    raise ValueError(message)


@app.task
def fail_if_negative(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


@app.task(max_attempts=3, backoff=Backoff.none())
def fail_until(path: str, runs: int) -> int:
    """Fails until it ran so many times."""
    run = _count_run(path)
    if run < runs:
        raise ValueError(f"run {run}")
    return run


@app.task(max_attempts=3, backoff=Backoff.constant(3600))
def fail_and_wait() -> NoReturn:
    raise ValueError("in an hour")


def _never_ends(error: BaseException, job: Any) -> float:
    return float("inf")


def _is_no_number(error: BaseException, job: Any) -> float:
    return float("nan")


def _is_too_long(error: BaseException, job: Any) -> float:
    return 1e300


def _is_broken(error: BaseException, job: Any) -> NoReturn:
    raise RuntimeError("the rule is broken")


@app.task(max_attempts=2, backoff=_never_ends)
def fail_with_infinite_backoff() -> NoReturn:
    raise ValueError("infinite")


@app.task(max_attempts=2, backoff=_is_no_number)
def fail_with_nan_backoff() -> NoReturn:
    raise ValueError("nan")


@app.task(max_attempts=2, backoff=_is_too_long)
def fail_with_long_backoff() -> NoReturn:
    raise ValueError("long")


@app.task(max_attempts=2, backoff=_is_broken)
def fail_with_broken_backoff() -> NoReturn:
    raise ValueError("first reason")


@app.task(max_attempts=3, backoff=_is_broken, give_up_on=(OSError, Retry))
def ask_again(after_s: float) -> NoReturn:
    raise Retry(after_s=after_s)


@app.task(max_attempts=3, backoff=_is_broken, give_up_on=OSError)
def ask_again_because(after_s: float) -> NoReturn:
    try:
        raise ConnectionError("busy")
    except OSError as error:
        raise Retry(after_s=after_s) from error


@app.task(max_attempts=3, backoff=lambda error, job: 7 if isinstance(error, ConnectionError) else None, retry_on=())
def ask_again_some_time() -> NoReturn:
    raise Retry from ConnectionError("busy")


@app.task
def snooze(after_s: float) -> NoReturn:
    raise Snooze(after_s=after_s)


@app.task(max_attempts=3)
def reject(reason: str) -> NoReturn:
    try:
        raise ValueError("not found")
    except ValueError as error:
        raise Reject(reason) from error


@app.task
async def snooze_soon(after_s: float) -> NoReturn:
    await asyncio.sleep(0)
    raise Snooze(after_s)


@app.task(max_attempts=9, backoff=Backoff.constant(5), retry_on=(OSError, TaskTimeout), give_up_on=ConnectionError)
def fail_with(error: str) -> NoReturn:
    classes = {"OSError": OSError, "ConnectionResetError": ConnectionResetError, "SystemExit": SystemExit}
    raise classes.get(error, ValueError)(error)


def _step(path: str) -> int:
    """Each run does the next of: retry, snooze, snooze, end."""
    run = _count_run(path)
    match run:
        case 1:
            raise Retry(after_s=0)
        case 2 | 3:
            raise Snooze(after_s=0)
    return run


@app.task(max_attempts=2)
def step_in_process(path: str) -> int:
    return _step(path)


@app.task(max_attempts=2, pool="threads")
def step_in_thread(path: str) -> int:
    return _step(path)


@app.task(max_attempts=2)
async def step_soon(path: str) -> int:
    await asyncio.sleep(0)
    return _step(path)


@app.task(max_attempts=2, pool="inline")
def step_inline(path: str) -> int:
    return _step(path)


@app.task(takes_context=True)
def snooze_until_open(context: Context, path: str) -> int:
    """Snoozes until there is a file; gives its attempt."""
    if not Path(path).exists():
        raise Snooze(after_s=0.01)
    return context.attempt


@app.task(max_attempts=9)
def reject_negative(number: int) -> int:
    if number < 0:
        raise Reject(f"{number} is negative")
    return number


@app.task
def crash_until(path: str, runs: int) -> int:
    """Kills its process until it ran so many times."""
    run = _count_run(path)
    if run < runs:
        os.kill(os.getpid(), signal.SIGKILL)
    return run


@app.task(max_crashes=1)
def crash() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@app.task(max_crashes=0)
def crash_once() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@app.task
def make_set() -> Any:
    return {"rows": [1, {2}]}


@app.task
def make_text(characters: int) -> str:
    return "x" * characters


@app.task
def wait_for(path: str) -> str:
    return Functions.wait_for(path)


@app.task(max_crashes=0)
def wait_once_for(path: str) -> str:
    return Functions.wait_for(path)


@app.task
def announce_and_wait(started: str, path: str) -> int:
    Path(started).write_text(str(os.getpid()))
    Functions.wait_for(path)
    return os.getpid()


@app.task
def append_line(path: str, line: str) -> None:
    """One write, so that lines of several processes do not mix."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


@app.task
def take_a_while() -> None:
    """Longer than a commit of the worker's, and short enough that such jobs wait in the pool by the dozen."""
    time.sleep(0.005)


@app.task
def be_alone(path: str) -> None:
    """Fails where another is here at the same time."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    os.unlink(path)


@app.task(takes_context=True)
def count_to(context: Context, number: int) -> str | None:
    for done in range(number):
        context.progress(done + 1, number, f"step {done + 1}")
    context.send({"counted": number})
    context.send("done")
    return context.job_id


@app.task(takes_context=True)
def progress_and_wait(context: Context, path: str) -> None:
    context.progress(1, 2, "half")
    context.send("half")
    Functions.wait_for(path)


@app.task(takes_context=True)
def progress_and_fail(context: Context) -> NoReturn:
    context.progress(1, 2)
    context.progress(2, 2, "nearly")
    raise ValueError("nearly")


@app.task(takes_context=True)
def report_for_ever(context: Context, folder: str) -> None:
    """As one that catches too much; leaves a file as it is ended, or as the folder is gone."""
    try:
        while Path(folder).exists():
            with contextlib.suppress(Exception):
                context.progress(1)
    finally:
        (Path(folder) / "cleaned up").touch()


@app.task(takes_context=True)
def tell_attempt(context: Context) -> int:
    return context.attempt


@app.task(takes_context=True)
def tell_labels(context: Context) -> dict[str, str]:
    return context.labels


@app.task(takes_context=True)
def report_nan(context: Context) -> None:
    context.progress(float("nan"))


@app.task(takes_context=True)
def report_text(context: Context) -> None:
    context.progress("a lot")  # type: ignore[arg-type]


@app.task(takes_context=True)
def report_huge(context: Context) -> None:
    context.progress(2**70, 2**71)


@app.task(takes_context=True)
def report_surrogate(context: Context) -> None:
    context.progress(1, 2, "\udcff")


@app.task(takes_context=True)
def send_set(context: Context) -> None:
    context.send({1})


@app.task(pool="threads")
def thread_name() -> str:
    return threading.current_thread().name


@app.task(pool="threads")
def wait_in_thread(path: str) -> str:
    return Functions.wait_for(path)


@app.task(pool="inline")
def pid_inline() -> int:
    return os.getpid()


@app.task
async def double_soon(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@app.task(takes_context=True)
async def report_soon(context: Context, number: int) -> int:
    context.progress(number, number)
    context.send("soon")
    return number


@app.task
async def wait_soon_for(path: str) -> str:
    return await AsyncFunctions.wait_for(path)


@app.task
async def block_loop(path: str) -> str:
    """Waits without awaiting, as no coroutine should."""
    return Functions.wait_for(path)


@app.task(pool="inline")
async def double_inline(number: int) -> int:
    return 2 * number


@app.task
def pid() -> int:
    return os.getpid()


@app.task(pool="inline")
def raise_unknown_task() -> NoReturn:
    app.registry.find("nowhere")
    raise AssertionError


def _count_run(path: str) -> int:
    append_line.function(path, "run")
    return len(Path(path).read_text().splitlines())


@app.task(pool="own")
def own_pid() -> tuple[int, str]:
    """Where a pool of the user's runs it."""
    return os.getpid(), threading.current_thread().name


@app.task(pool="own", max_crashes=1)
def own_crash_until(path: str, runs: int) -> int:
    run = _count_run(path)
    if run < runs:
        os._exit(7)
    return run


@app.task(pool="own", takes_context=True)
def own_report(context: Context, path: str) -> str:
    context.send("begun")
    return Functions.wait_for(path)


@app.task(takes_context=True)
def send_message(context: Context, body: str) -> None:
    context.send(body)
