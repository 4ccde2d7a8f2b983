"""The store on a caller's connection to PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from treadle.errors import CannotJoin, SchemaMissing, StoreError
from treadle.store.contract import Store
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.store.postgres_joined import JoinedPostgres
from treadle.testing.store_contract import StoreContract, found, make_job

Raw = psycopg.Connection[Any]


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(parse(postgres_url), listen=False)
    store.prepare()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE own (name TEXT)")
    yield store
    store.close()


@pytest.fixture
def raw(store: PostgresStore, postgres_url: str) -> Iterator[Raw]:
    """The caller's connection, as the driver makes it."""
    connection = psycopg.connect(postgres_url)
    yield connection
    connection.close()


class TestJoinedPostgres(StoreContract):
    """The job verbs, all in one transaction of the driver's."""

    # A transaction is one thread's.
    test_threads_that_claim_at_once_get_each_job_once = None
    test_threads_that_send_one_key_at_once_get_one_job = None
    test_threads_that_claim_at_once_run_one_of_each_key = None
    test_claimers_at_once_beside_a_paused_queue_get_each_job_once = None
    test_of_all_that_move_a_schedule_at_once_one_sends = None
    # Nobody waits for a change inside of a transaction.
    test_a_waiter_wakes_when_something_changed = None
    test_a_resume_wakes_who_waits = None
    test_a_change_before_the_wait_is_not_missed = None

    @pytest.fixture(autouse=True)
    def _connection(self, raw: Raw) -> None:
        self.raw = raw

    def make_store(self) -> Store:
        return JoinedPostgres(self.raw, notify=True)


class TestJoinedPostgresWithOtherRows(TestJoinedPostgres):
    """The same where the caller likes dictionaries, and has begun by himself."""

    @pytest.fixture(autouse=True)
    def _transaction(self, _connection: None) -> None:
        self.raw.autocommit = True
        self.raw.row_factory = dict_row
        self.raw.execute("BEGIN")


def owned(connection: Raw) -> list[Any]:
    return connection.execute("SELECT name FROM own").fetchall()


@pytest.mark.parametrize("count", [1, 2, 600], ids=["one", "insert", "copy"])
def test_rows_and_jobs_are_committed_together(store: PostgresStore, raw: Raw, count: int) -> None:
    """Nobody sees a job before the caller's commit."""
    raw.execute("INSERT INTO own VALUES ('a')")
    JoinedPostgres(raw, notify=True).enqueue([make_job() for _ in range(count)])
    assert found(store) == []
    raw.commit()
    assert (sum(store.counts().values()), owned(raw)) == (count, [("a",)])


def test_a_rollback_takes_the_jobs_along(store: PostgresStore, raw: Raw) -> None:
    """Also where the jobs came first."""
    JoinedPostgres(raw, notify=True).enqueue([make_job()])
    raw.execute("INSERT INTO own VALUES ('a')")
    raw.rollback()
    assert (found(store), owned(raw)) == ([], [])


def test_what_fails_leaves_the_callers_transaction_as_it_was(store: PostgresStore, raw: Raw) -> None:
    """What the caller has written stays, and nothing of the list of jobs does."""
    raw.execute("INSERT INTO own VALUES ('a')")
    with pytest.raises(StoreError):
        JoinedPostgres(raw, notify=True).enqueue([make_job(), make_job(priority=101)])
    raw.commit()
    assert (found(store), owned(raw)) == ([], [("a",)])


@pytest.mark.parametrize("notify", [True, False])
def test_who_listens_is_told_by_the_commit(store: PostgresStore, raw: Raw, postgres_url: str, notify: bool) -> None:
    """And not before; nor ever, where the settings say so."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("LISTEN treadle")
        JoinedPostgres(raw, notify=notify).enqueue([make_job()])
        assert list(other.notifies(timeout=0)) == []
        raw.commit()
        told = list(other.notifies(timeout=5 if notify else 0.2, stop_after=1))
    assert len(told) == int(notify)


def test_a_connection_that_commits_by_itself_has_nothing_to_join(store: PostgresStore, raw: Raw) -> None:
    """The job could not be gone after a rollback, so it is not sent."""
    raw.autocommit = True
    with pytest.raises(CannotJoin, match=r"connection to 'postgres' on .* commits each statement by itself"):
        JoinedPostgres(raw, notify=True).enqueue([make_job()])
    assert found(store) == []


def test_a_transaction_in_autocommit_is_joined(store: PostgresStore, raw: Raw) -> None:
    """`with connection.transaction()`, as psycopg has it."""
    raw.autocommit = True
    with raw.transaction(force_rollback=True):
        JoinedPostgres(raw, notify=True).enqueue([make_job()])
    with raw.transaction():
        JoinedPostgres(raw, notify=True).enqueue([make_job()])
    assert len(found(store)) == 1


def test_a_transaction_that_has_failed_says_so(store: PostgresStore, raw: Raw) -> None:
    """And what to do."""
    with pytest.raises(psycopg.Error):
        raw.execute("SELECT nonsense")
    with pytest.raises(StoreError, match="an earlier statement of this transaction has failed: roll it back"):
        JoinedPostgres(raw, notify=True).enqueue([make_job()])


def test_a_pipeline_is_not_joined(store: PostgresStore, raw: Raw) -> None:
    """There statements give no rows yet, by which a verb knows what it has done; the transaction can go on."""
    with raw.pipeline():
        raw.execute("INSERT INTO own VALUES ('a')")
        with pytest.raises(CannotJoin, match=r"is in pipeline mode: send outside of `with connection\.pipeline\(\)`"):
            JoinedPostgres(raw, notify=True).enqueue([make_job()])
    JoinedPostgres(raw, notify=True).enqueue([make_job()])
    raw.commit()
    assert (len(found(store)), owned(raw)) == (1, [("a",)])


def test_a_schema_without_tables_is_told_what_to_do(postgres_url: str) -> None:
    """The caller's transaction can go on after the question."""
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(SchemaMissing, match=r"has no tables.*database_url.*treadle migrate"):
            JoinedPostgres(connection, notify=True).secret()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_closed_connection_is_a_store_error(raw: Raw) -> None:
    """Never an error of the driver."""
    raw.close()
    with pytest.raises(StoreError, match="closed"):
        JoinedPostgres(raw, notify=True).enqueue([make_job()])
