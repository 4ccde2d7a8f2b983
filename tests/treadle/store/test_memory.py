"""The store in memory."""

from treadle.store.contract import Store
from treadle.store.memory import MemoryStore
from treadle.testing.store_contract import StoreContract, make_job


class TestMemoryStore(StoreContract):
    def make_store(self) -> Store:
        return MemoryStore()


def test_two_stores_share_nothing() -> None:
    """Each is gone with its object."""
    one, other = MemoryStore(), MemoryStore()
    one.enqueue([make_job()])
    assert other.counts() == {}
    assert one.secret() != other.secret()
