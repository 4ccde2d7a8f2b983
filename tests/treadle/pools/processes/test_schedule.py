"""Which child is given what: batches, what is taken back from them, and who waits for whom."""

import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests import functions
from tests.helpers import PATIENCE_S, Gate, eventually

from treadle import ProcessPool
from treadle.pools.contract import Limits
from treadle.pools.processes.arena import Arena
from treadle.pools.processes.call import Call
from treadle.pools.processes.functions import Function
from treadle.pools.processes.member import Member
from treadle.pools.processes.pickling import Parcel
from treadle.pools.processes.schedule import MOST_BYTES_IN_BATCH, MOST_IN_BATCH, NOTHING_BEHIND_S, STALLED_S, Schedule

LATE_S = STALLED_S * 1.01
"""Sums of floats are rounded: at some readings of the clock, so long after is a bit less than so long."""


class Plan:
    """A schedule with members that are ready, and nobody at the other end of their sockets."""

    def __init__(self, size: int) -> None:
        self.schedule = Schedule(size, Arena(), lambda: None)
        self.members = [Member() for _ in range(size)]
        for member in self.members:
            member.is_ready = True
            self.schedule.members[member.number] = member
            self.schedule.feed(member)
        self.quick = Function(1, b"")
        self.quick.mean_s = 1e-6

    def add(self, count: int = 1, *, body: bytes = b"", function: Function | None = None, **limits: Any) -> list[Call]:
        calls = [Call(None, function or self.quick, Parcel(body)) for _ in range(count)]  # type: ignore[arg-type]
        for call in calls:
            call.limit(Limits(**limits))
            self.schedule.add(call)
        return calls

    @property
    def given(self) -> list[int]:
        return [len(member.given) for member in self.members]

    def end_first(self, member: Member) -> Call:
        """The child took a permit, ran its first call and told so."""
        member.permits.take_back()
        member.permits.grant(max(0, len(member.given) - 1))
        call = member.given.popleft()
        self.schedule.ended(call)
        self.schedule.feed(member)
        return call

    def close(self) -> None:
        for member in self.members:
            member.child_end.close()
            member.close()


@pytest.fixture
def plan() -> Iterator[Plan]:
    plan = Plan(2)
    yield plan
    plan.close()


def test_a_call_is_given_to_an_idle_child_alone(plan: Plan) -> None:
    """At once, and the next to another one; then calls wait."""
    plan.add(5)
    assert plan.given == [1, 1]
    assert plan.schedule.waiting == 3
    assert plan.schedule.busy == 2


@pytest.mark.parametrize(("mean_s", "is_saturated"), [(1e-6, True), (2e-4, True), (1e-3, False)])
def test_results_may_gather_while_every_child_has_plenty(plan: Plan, mean_s: float, is_saturated: bool) -> None:
    """Very many calls, or a millisecond of work; but not a few calls, one of which might take all of it."""
    function = Function(2, b"")
    function.mean_s = mean_s
    plan.add(2 + 1000, function=function)
    assert not plan.schedule.is_saturated
    plan.end_first(plan.members[0])
    assert not plan.schedule.is_saturated
    plan.end_first(plan.members[1])
    assert plan.schedule.is_saturated is is_saturated


def test_a_batch_is_a_share_of_the_queue(plan: Plan) -> None:
    """So that the last ones are shared out evenly."""
    plan.add(2 + 100)
    plan.end_first(plan.members[0])
    assert plan.given == [25, 1]
    assert plan.schedule.waiting == 75


def test_a_batch_holds_no_more_than_some_work(plan: Plan) -> None:
    """By what was measured: 4 ms."""
    plan.quick.mean_s = 0.0005
    plan.add(2 + 100)
    plan.end_first(plan.members[0])
    assert 7 <= plan.given[0] <= 9


@pytest.mark.parametrize(("body", "most"), [(b"", MOST_IN_BATCH), (bytes(4000), MOST_BYTES_IN_BATCH // 4000 + 1)])
def test_a_batch_fits_a_frame(plan: Plan, body: bytes, most: int) -> None:
    """However many calls wait, and however long they are."""
    plan.add(2 + 6000, body=body)
    plan.end_first(plan.members[0])
    assert 2 <= plan.given[0] <= most


@pytest.mark.parametrize("mean_s", [NOTHING_BEHIND_S * 1.1, 1.0])
def test_nothing_is_put_behind_a_call_that_takes_long(plan: Plan, mean_s: float) -> None:
    """Or whose time was never measured."""
    slow = Function(2, b"")
    slow.mean_s = mean_s
    plan.add(2, function=slow)
    plan.add(100)
    for member in plan.members:
        plan.schedule.feed(member)
    assert plan.given == [1, 1]


@pytest.mark.parametrize("limits", [{"timeout_s": 5}, {"memory_mb": 5}, {"cores": 1}], ids=str)
def test_a_call_with_limits_is_alone(plan: Plan, limits: dict[str, Any]) -> None:
    """Nothing before it and nothing behind it."""
    plan.add(2)
    plan.add(20)
    (limited,) = plan.add(**limits)
    plan.add(20)
    while limited.member is None:
        plan.end_first(max(plan.members, key=lambda member: len(member.given)))
    plan.schedule.feed(limited.member)
    assert list(limited.member.given) == [limited]


def test_a_large_call_is_alone_and_copied_by_somebody_else(plan: Plan) -> None:
    """Its child is reserved meanwhile."""
    (large,) = plan.add(body=bytes(100_000))
    plan.add(10)
    member = large.member
    assert member is not None
    assert member.reserved_for is large
    assert list(plan.schedule.to_load) == [(member, large)]
    assert len(member.given) == 0


def test_a_call_of_many_cores_waits_for_them_and_keeps_them(plan: Plan) -> None:
    """Those behind it wait for it, so it gets its turn; when it has ended they run."""
    plan.add(2)
    (wide,) = plan.add(cores=2)
    plan.add(2)
    plan.end_first(plan.members[0])
    assert wide.member is None
    plan.end_first(plan.members[1])
    assert wide.member is not None
    assert sum(plan.given) == 1
    plan.end_first(wide.member)
    assert plan.given == [1, 1]


def test_what_stands_behind_a_long_call_is_taken_back(plan: Plan) -> None:
    """In its order, to the front of the queue; the long one stays."""
    plan.add(2 + 100)
    member = plan.members[0]
    plan.end_first(member)
    long, *behind = member.given
    assert plan.schedule.level(member.last_news_s + STALLED_S / 2) is not None
    assert len(member.given) == 25
    member.permits.take_back()
    member.permits.grant(24)  # The first has started.
    plan.schedule.level(member.last_news_s + LATE_S)
    assert list(member.given) == [long]
    assert list(plan.schedule.queue)[:24] == behind
    assert all(call.is_queued and call.member is None for call in behind)


def test_a_child_that_gave_back_gets_nothing_before_it_has_answered(plan: Plan) -> None:
    """A new permit would start what it has yet to skip."""
    plan.add(2 + 100)
    member = plan.members[0]
    plan.end_first(member)
    plan.schedule.level(member.last_news_s + LATE_S)
    assert member.is_fenced
    plan.schedule.feed(member)
    assert len(member.given) == 0
    member.is_fenced = False
    plan.schedule.feed(member)
    assert len(member.given) > 0


def test_cancelled_calls_in_the_queue_are_skipped(plan: Plan) -> None:
    """And are not counted as waiting."""
    plan.add(2)
    waiting = plan.add(10)
    for call in waiting[:9]:
        plan.schedule.drop(call)
    assert plan.schedule.waiting == 1
    plan.end_first(plan.members[0])
    assert list(plan.members[0].given) == [waiting[9]]
    assert plan.schedule.waiting == 0


def test_the_child_that_worked_last_works_next(plan: Plan) -> None:
    """Its caches are warm; the other one is the first to leave."""
    plan.add(2)
    plan.end_first(plan.members[0])
    plan.end_first(plan.members[1])
    assert plan.schedule.longest_idle is plan.members[0]
    (call,) = plan.add()
    assert call.member is plan.members[1]


def test_a_child_is_given_no_more_than_it_may_run(plan: Plan) -> None:
    """Before it is replaced."""
    for member in plan.members:
        member.tasks_left = 3
    plan.add(2 + 100)
    plan.end_first(plan.members[0])
    assert plan.given[0] == 2
    assert plan.members[0].tasks_left == 0


# With children


@pytest.mark.parametrize("kind", ["silent", "reporting"])
def test_quick_calls_do_not_wait_for_a_long_one(gate: Gate, kind: str) -> None:
    """Those that were given to its child too: they are taken back, and each runs once, also if it keeps reporting."""
    with ProcessPool(2) as pool:
        quick = [pool.submit(functions.quick_or_long, str(gate.folder / f"a{n}"), None) for n in range(200)]
        long = pool.call(
            functions.quick_or_long, (str(gate.folder / "long"), str(gate.path), kind), on_progress=lambda _: None
        )
        quick += [pool.submit(functions.quick_or_long, str(gate.folder / f"b{n}"), None) for n in range(200)]
        assert not concurrent.futures.wait(quick, PATIENCE_S).not_done
        assert not long.done()
        gate.open()
        assert long.result(PATIENCE_S) == 1
        assert [future.result(0) for future in quick] == [1] * 400


def test_a_burst_from_many_threads_runs_each_call_once(gate: Gate) -> None:
    """Whatever is given, taken back and given again meanwhile."""
    futures: list[Any] = []
    with ProcessPool(2) as pool:

        def burst(name: str) -> None:
            for number in range(150):
                path = str(gate.folder / f"{name}{number}")
                futures.append(pool.submit(functions.quick_or_sleep, path, number % 50 == 0))

        threads = [threading.Thread(target=burst, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert [future.result(PATIENCE_S) for future in futures] == [1] * 600
    assert len(list(gate.folder.iterdir())) == 600


def test_a_function_is_sent_to_each_child_once() -> None:
    """And found again by each call that names it."""
    with ProcessPool(2) as pool:
        assert list(pool.map(functions.double, range(50), chunksize=1)) == [2 * n for n in range(50)]
        members = pool._crew._schedule.members.values()
        eventually(lambda: all(not member.given for member in members))
        assert all(len(member.functions) <= 1 for member in members)
