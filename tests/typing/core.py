"""What a type checker says of sends through the core: each `type: ignore` here is an error that it must find."""

from typing import assert_type

from treadle import Context, Treadle
from treadle.handle import JobHandle
from treadle.task import BoundTask, Task

app = Treadle("memory://")


@app.task
def repeat(text: str, times: int = 1) -> str:
    return text * times


@app.task(takes_context=True)
def report(context: Context, rows: int) -> list[int]:
    return list(range(rows))


@app.task
async def double(number: int) -> int:
    return 2 * number


assert_type(app.send_function(repeat, "a"), JobHandle[str])
assert_type(app.send_function(repeat, text="a", times=2).result(), str)
assert_type(app.send_function(report, 3).result(), list[int])
assert_type(app.send_function(repeat.options(queue="mail"), "a"), JobHandle[str])
assert_type(repeat.bind("a"), BoundTask[str])
assert_type(repeat("a"), str)
app.send_function(repeat, 7)  # type: ignore[arg-type]
app.send_function(repeat, "a", times="2")  # type: ignore[arg-type]
app.send_function(repeat)  # type: ignore[call-arg]
app.send_function(repeat, "a", 2, 3)  # type: ignore[call-arg]
app.send_function(repeat, "a", time=2)  # type: ignore[call-arg]
app.send_function(report, Context.detached(), 3)  # type: ignore[call-arg, arg-type]
app.send_function(len, "a")  # type: ignore[arg-type]
repeat.bind(7)  # type: ignore[arg-type]
repeat.options(queue="mail").bind(7)  # type: ignore[arg-type]
repeat(7)  # type: ignore[arg-type]
app.send_map(repeat, ["a"], parts="2")  # type: ignore[arg-type]
app.send_map(repeat, ["a"], redcue=repeat)  # type: ignore[call-arg]
app.jobs(stat="failed")  # type: ignore[call-arg]
app.schedule("0 3 * * *", repeat.bind("a"), catch_up="always")  # type: ignore[arg-type]


async def use() -> None:
    assert_type(await (await app.asend_function(repeat, "a")).aresult(), str)
    await app.asend_function(repeat, 7)  # type: ignore[arg-type]
    await app.asend_map(repeat, ["a"], part=2)  # type: ignore[call-arg]
    await app.ajobs(stat="failed")  # type: ignore[call-arg]


def take(task: Task[[int], str]) -> None: ...


take(repeat)  # type: ignore[arg-type]
