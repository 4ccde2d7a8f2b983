"""How functions go by number."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests import apps, functions
from tests.helpers import PATIENCE_S

from treadle import ProcessPool, Unpicklable
from treadle.pools.processes.functions import Functions


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(1) as pool:
        yield pool


class Counter:
    """Callable, and different from call to call."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count

    def add(self, number: int) -> int:
        return self.count + number

    @staticmethod
    def static(number: int) -> int:
        return number

    @classmethod
    def of_class(cls, number: int) -> str:
        return f"{cls.__name__} {number}"


def test_a_function_has_one_number() -> None:
    """Each its own, from 1 on; a task has that of its function, whatever its options."""
    known = Functions()
    assert known.find(functions.double) is known.find(functions.double)
    assert known.find(functions.double).number != known.find(functions.identity).number
    task = apps.string_length
    assert known.find(task) is known.find(task.options(priority=3))


@pytest.mark.parametrize(
    "function", [Counter(), Counter().add, functools.partial(len, []), [].append, np.sum.__get__(1)]
)
def test_what_may_change_between_two_calls_travels_in_its_call(function: Any) -> None:
    """It has no number."""
    assert Functions().find(function).number == 0


def test_a_function_without_a_name_is_refused() -> None:
    """Unpicklable, and it is not remembered."""
    known = Functions()
    for _ in range(2):
        with pytest.raises(Unpicklable, match="the function is <function"):
            known.find(lambda: 1)
    assert known._known == {}


def test_the_mean_follows_what_is_measured() -> None:
    """The first run counts as it is, later ones by a fifth."""
    function = Functions().find(functions.double)
    function.measure(0.5)
    assert function.mean_s == 0.5
    function.measure(1.0)
    assert function.mean_s == pytest.approx(0.6)


def test_callables_of_every_kind_run(pool: ProcessPool) -> None:
    """As what they are at the moment of the call."""
    counter = Counter()
    for count in range(3):
        counter.count = count
        assert pool.submit(counter).result(PATIENCE_S) == count
        assert pool.submit(counter.add, 10).result(PATIENCE_S) == count + 10
    assert pool.submit(Counter.static, 3).result(PATIENCE_S) == 3
    assert pool.submit(Counter.of_class, 3).result(PATIENCE_S) == "Counter 3"
    assert pool.submit(functools.partial(pow, 2), 5).result(PATIENCE_S) == 32
    assert pool.submit(str, 5).result(PATIENCE_S) == "5"
    assert pool.submit("a-b".split, "-").result(PATIENCE_S) == ["a", "b"]
    assert pool.submit(np.add, 1, 2).result(PATIENCE_S) == 3


def test_arguments_may_have_any_name(pool: ProcessPool) -> None:
    """As in `concurrent.futures`, `fn` and `self` too."""
    assert pool.submit(functions.names, fn=1, self=2, function=3).result(PATIENCE_S) == {
        "fn": 1,
        "self": 2,
        "function": 3,
    }
