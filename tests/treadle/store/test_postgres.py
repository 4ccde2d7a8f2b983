"""The store in a PostgreSQL database."""

import pytest

from treadle.store.contract import Store
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import StoreContract


class TestPostgresStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make_store(self) -> Store:
        return PostgresStore(parse(self.url))

    def reopen(self, store: Store) -> Store:
        return self.make_store()


class TestPostgresStoreThatPolls(TestPostgresStore):
    def make_store(self) -> Store:
        return PostgresStore(parse(self.url), listen=False, notify=False)
