"""From a call to the rows that are sent, and whether anybody will run them."""

import msgspec
import pytest
from tests import apps

from treadle.app import Treadle
from treadle.clock import US_PER_S
from treadle.events import Event, NobodyServes
from treadle.sending import Attendance
from treadle.store.memory import MemoryStore
from treadle.testing.clock import ManualClock
from treadle.testing.store_contract import make_job, make_worker


class Scene:
    """A store, a clock, and what is told."""

    def __init__(self) -> None:
        self.store = MemoryStore()
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


def test_a_send_to_a_server_looks_for_workers(postgres_url: str) -> None:
    """Where another machine may run the worker, nothing else would tell that there is none."""
    told: list[Event] = []
    app = Treadle(postgres_url, registry=apps.app.registry, app="tests.apps:app")
    app.events.subscribe(told.append)
    app.send_function(apps.string_length, "abc")
    app.close()
    assert [event for event in told if isinstance(event, NobodyServes)] == [NobodyServes("default")]
