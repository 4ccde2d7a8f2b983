"""The same in Django."""

from typing import assert_type

from django_worker import asend_function, send_function, task
from treadle.handle import JobHandle


@task
def repeat(text: str, times: int = 1) -> str:
    return text * times


@task(max_attempts=3)
def count(rows: int) -> list[int]:
    return list(range(rows))


assert_type(send_function(repeat, "a", times=2), JobHandle[str])
assert_type(send_function(count, 3).result(), list[int])
send_function(repeat, 7)  # type: ignore[arg-type]
send_function(repeat, "a", times="2")  # type: ignore[arg-type]
send_function(repeat)  # type: ignore[call-arg]
send_function(count, "3")  # type: ignore[arg-type]
send_function(len, "a")  # type: ignore[arg-type]


async def use() -> None:
    assert_type(await (await asend_function(repeat, "a")).aresult(), str)
    await asend_function(repeat, 7)  # type: ignore[arg-type]
