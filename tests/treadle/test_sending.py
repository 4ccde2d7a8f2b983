"""From a call to the rows that are sent, and whether anybody will run them."""

import msgspec
import pytest
from tests import apps

from treadle.app import Treadle
from treadle.clock import US_PER_S
from treadle.errors import PayloadTooLarge, StoreUnavailable
from treadle.events import Event, NobodyServes
from treadle.sending import Attendance, fitting_parts
from treadle.store.contract import WorkerRow
from treadle.store.memory import MemoryStore
from treadle.testing.clock import ManualClock
from treadle.testing.store_contract import make_job, make_worker


class AwayStore(MemoryStore):
    """A store that cannot be asked."""

    def workers(self) -> list[WorkerRow]:
        raise StoreUnavailable("away")


class Scene:
    """A store, a clock, and what is told."""

    def __init__(self) -> None:
        self.store: MemoryStore = MemoryStore()
        self.clock = ManualClock()
        self.told: list[Event] = []
        self.attendance = Attendance(self.clock, self.told.append)

    def serve(self, *queues: str, lease_s: float = 10) -> None:
        until_us = self.clock.now_us() + round(lease_s * US_PER_S)
        self.store.register(msgspec.structs.replace(make_worker("w"), queues=queues, lease_until_us=until_us))

    def send(self, queue: str) -> list[Event]:
        self.attendance.look(self.store, [make_job(queue=queue)])
        return self.told


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_queue_that_nobody_serves_is_told_once(scene: Scene) -> None:
    """Each queue by itself, and not again in this process."""
    scene.serve("default")
    for queue in ("default", "mail", "mail", "slow"):
        scene.send(queue)
    assert scene.told == [NobodyServes("mail"), NobodyServes("slow")]


def test_a_worker_of_all_queues_serves_any(scene: Scene) -> None:
    """One that names none."""
    scene.serve()
    assert scene.send("mail") == []


def test_a_worker_that_is_not_heard_of_serves_nothing(scene: Scene) -> None:
    """Its lease has ended: it may have been dead for weeks."""
    scene.serve("mail", lease_s=-1)
    assert scene.send("mail") == [NobodyServes("mail")]


def test_a_look_that_failed_is_done_again(scene: Scene) -> None:
    """Where the store was away at the first send nothing was seen."""
    scene.store = AwayStore()
    with pytest.raises(StoreUnavailable):
        scene.send("mail")
    scene.store = MemoryStore()
    assert scene.send("mail") == [NobodyServes("mail")]


def test_a_send_to_a_server_looks_for_workers(postgres_url: str) -> None:
    """Where another machine may run the worker, nothing else would tell that there is none."""
    told: list[Event] = []
    app = Treadle(postgres_url, registry=apps.app.registry, app="tests.apps:app")
    app.events.subscribe(told.append)
    app.send_function(apps.string_length, "abc")
    app.close()
    assert [event for event in told if isinstance(event, NobodyServes)] == [NobodyServes("default")]


@pytest.mark.parametrize(
    ("items", "item_s", "parts"),
    [
        (1000, None, 64),  # nothing is known: 16 a slot
        (1000, 0.1, 64),  # 1.6 s each
        (1000, 0.00001, 2),  # 10 ms of work are two parts of 5 ms
        (10, 0.00001, 1),  # never none
        (1000, 0, 1),
        (1000, -1.0, 64),  # measured while the clock was set back
        (1000, 1.0, 500),  # 2 s each, where 64 would take 16 s each
        (100_000, 1.0, 1000),  # never more rows than that
    ],
)
def test_parts_are_neither_too_short_nor_too_long(items: int, item_s: float | None, parts: int) -> None:
    """On four slots: 16 parts a slot, fewer where they would be under 5 ms, more where they would be over 2 s."""
    assert fitting_parts(items, 4, item_s) == parts


def test_many_slots_have_their_sixteen_parts_each() -> None:
    """Whatever the number of rows."""
    assert fitting_parts(1_000_000, 100, 0.01) == 1600


def test_items_too_large_for_so_few_parts_travel_in_more() -> None:
    """A map whose items were quick is cut into fewer parts the next time, which may hold more than a payload can."""
    app = Treadle("memory://", registry=apps.app.registry, app="tests.apps:app", concurrency=1, max_payload_bytes=1000)
    for _ in range(2):
        whole = app.send_map(apps.string_length, ["x" * 50] * 100)
        app.run_pending()
        assert whole.result() == [50] * 100


def test_an_item_that_is_too_large_is_told_as_that() -> None:
    """No number of parts would help."""
    app = Treadle("memory://", registry=apps.app.registry, app="tests.apps:app", max_payload_bytes=1000)
    with pytest.raises(PayloadTooLarge, match=r"part 3 of .* bytes as JSON") as caught:
        app.send_map(apps.string_length, ["x", "x", "x", "x" * 1000])
    assert "more parts" not in str(caught.value)
