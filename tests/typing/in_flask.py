"""The same in Flask."""

from typing import assert_type

from flask import Flask

from flask_worker import FlaskWorker
from treadle import Context
from treadle.handle import JobHandle

worker = FlaskWorker()
FlaskWorker(Flask(__name__))
FlaskWorker("app")  # type: ignore[arg-type]


@worker.task
def repeat(text: str, times: int = 1) -> str:
    return text * times


@worker.task(takes_context=True, max_attempts=3)
def report(context: Context, rows: int) -> list[int]:
    return list(range(rows))


assert_type(worker.send_function(repeat, "a", times=2), JobHandle[str])
assert_type(worker.send_function(report, 3).result(), list[int])
assert_type(worker.send_many([repeat.bind("a")]), list[JobHandle[str]])
assert_type(repeat("a"), str)
worker.send_function(repeat, 7)  # type: ignore[arg-type]
worker.send_function(repeat, "a", times="2")  # type: ignore[arg-type]
worker.send_function(repeat)  # type: ignore[call-arg]
worker.send_function(report, "3")  # type: ignore[arg-type]
worker.send_function(len, "a")  # type: ignore[arg-type]
repeat.bind(7)  # type: ignore[arg-type]
worker.send_map(repeat, ["a"], parts="2")  # type: ignore[arg-type]
worker.send_map(repeat, ["a"], redcue=repeat)  # type: ignore[call-arg]
worker.jobs(stat="failed")  # type: ignore[call-arg]
worker.schedule("0 3 * * *", repeat.bind("a"), catch_up="always")  # type: ignore[arg-type]


async def use() -> None:
    assert_type(await (await worker.asend_function(repeat, "a")).aresult(), str)
    await worker.asend_function(repeat, 7)  # type: ignore[arg-type]
    await worker.asend_map(repeat, ["a"], part=2)  # type: ignore[call-arg]
    await worker.ajobs(stat="failed")  # type: ignore[call-arg]
