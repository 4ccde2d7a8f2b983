"""The store in a PostgreSQL database behind PgBouncer, whose transaction mode gives each transaction another session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, jobs_app, working
from tests.pgbouncer import PgBouncer, pgbouncer_before

from treadle.store.contract import Store
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.testing.store_contract import StoreContract


@pytest.fixture(scope="module")
def pgbouncer(postgres_server: str) -> Iterator[PgBouncer]:
    with pgbouncer_before(postgres_server) as pgbouncer:
        yield pgbouncer


@pytest.fixture
def url(pgbouncer: PgBouncer) -> Iterator[str]:
    """The URL of a database without tables of ours, for this test alone."""
    with pgbouncer.user() as url:
        yield url


class TestPostgresStoreBehindPgBouncer(StoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, url: str) -> None:
        self.url = url

    def make_store(self) -> Store:
        return PostgresStore(parse(self.url), listen=False)

    def reopen(self, store: Store) -> Store:
        return self.make_store()


def test_a_worker_runs_jobs_through_it(url: str, tmp_path: Path) -> None:
    """Many in one transaction, a map with its whole, and one that is tried again, all without a session of its own."""
    app = jobs_app(tmp_path, database_url=url, postgres_listen=False)
    with working(app):
        many = app.send_many([apps.string_length.bind("x" * length) for length in range(200)])
        whole = app.send_map(apps.upper, ["a", "b", "c"], reduce=apps.join_words)
        again = app.send_function(apps.fail_until, str(tmp_path / "runs"), 2)
        assert [job.result(PATIENCE_S) for job in many] == list(range(200))
        assert (whole.result(PATIENCE_S), again.result(PATIENCE_S)) == ("A B C", 2)
    app.close()
