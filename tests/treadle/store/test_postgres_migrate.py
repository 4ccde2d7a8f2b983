"""The tables in a PostgreSQL database: made step by step, by any number of processes at once."""

import contextlib
from collections.abc import Iterator

import pytest
from tests import golden
from tests.helpers import python
from tests.postgres_schema import GOLDEN, schema

from treadle.errors import SchemaMissing, SchemaTooNew, StoreError
from treadle.store import migrate, postgres_migrate
from treadle.store.postgres import PostgresStore
from treadle.store.postgres_address import parse
from treadle.store.postgres_server import PostgresServer
from treadle.testing.store_contract import claim, found, make_job


@pytest.fixture
def server(postgres_url: str) -> Iterator[PostgresServer]:
    server = PostgresServer(parse(postgres_url))
    yield server
    server.close()


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(parse(postgres_url))
    yield store
    store.close()


def migrated_to(server: PostgresServer, number: int) -> None:
    for step in migrate.migrations("postgres")[:number]:
        with server.transaction() as session:
            postgres_migrate.apply(session, step)


def test_the_migrations_are_those_of_sqlite() -> None:
    """The same numbers and names, so that a version means the same."""
    names = [(step.number, step.name) for step in migrate.migrations("postgres")]
    assert names == [(step.number, step.name) for step in migrate.migrations("sqlite")]


def test_the_schema_is_the_golden_one(server: PostgresServer) -> None:
    """A change of it is meant: `schema.postgres.txt` beside this file is written anew with it."""
    postgres_migrate.migrate(server)
    golden.check(GOLDEN, schema(server))


@pytest.mark.parametrize("number", range(1, migrate.code_version("postgres")))
def test_each_earlier_version_is_migrated_to_the_same_schema(server: PostgresServer, number: int) -> None:
    """Whatever version a database has had."""
    migrated_to(server, number)
    postgres_migrate.migrate(server)
    assert schema(server) == GOLDEN.read_text()
    assert postgres_migrate.schema_version(server) == migrate.code_version("postgres")


def test_a_job_of_the_first_version_is_kept(server: PostgresServer, store: PostgresStore) -> None:
    """It is there as before, without limits."""
    migrated_to(server, 1)
    server.run(
        "INSERT INTO treadle_job (id, kind, task, queue, pool, priority, state, run_at, max_attempts, max_crashes, "
        "enqueued_at, part, size, alias, labels, headers, payload) VALUES "
        "('1', 'call', 't', 'default', 'processes', 0, 'ready', 0, 1, 3, 0, 0, 1, 'default', '{}', '{}', '')"
    )
    store.prepare()
    (job,) = claim(store, 1)
    assert (job.id, job.limits, job.cancel_requested_at_us) == ("1", {}, None)


def test_preparing_again_changes_nothing(store: PostgresStore) -> None:
    """Every process that opens the store prepares it."""
    store.prepare()
    store.enqueue([make_job()])
    store.prepare()
    assert len(found(store)) == 1


def test_processes_that_prepare_at_once_do_not_collide(postgres_url: str) -> None:
    """Four processes that open a new database at the same moment all succeed."""
    program = (
        "import sys; from treadle.store.postgres import PostgresStore\n"
        "from treadle.store.postgres_address import parse\n"
        "store = PostgresStore(parse(sys.argv[1])); sys.stdin.read(); store.prepare(); store.secret(); store.close()"
    )
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(python("-c", program, postgres_url, stdin=-1)) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [(process.wait(), process.stderr.read()) for process in processes if process.stderr] == [(0, "")] * 4


def test_a_schema_that_needs_newer_code_is_refused(server: PostgresServer, store: PostgresStore) -> None:
    """The message names the database, both versions and the package to upgrade."""
    store.prepare()
    server.run("UPDATE treadle_meta SET value = '9' WHERE name IN ('schema_version', 'min_code_version')")
    with pytest.raises(
        SchemaTooNew, match=r"^postgresql://.* was migrated to schema 9 .* upgrade the package 'treadle'"
    ):
        store.prepare()


def test_a_newer_schema_that_older_code_may_use_is_taken(server: PostgresServer, store: PostgresStore) -> None:
    """In a rolling upgrade old and new code use the store at the same time."""
    store.prepare()
    server.run("UPDATE treadle_meta SET value = '9' WHERE name = 'schema_version'")
    store.prepare()
    store.enqueue([make_job()])


def test_tables_of_an_older_version_are_told_with_the_next_step(server: PostgresServer, store: PostgresStore) -> None:
    """A verb on tables that lack a column names the command."""
    migrated_to(server, 1)
    with pytest.raises(SchemaMissing, match=r"has tables of an older Treadle.*treadle migrate"):
        store.enqueue([make_job()])


def test_a_migration_that_fails_leaves_nothing(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables and the note of one migration are kept together."""
    broken = migrate.Migration(1, "broken", ("CREATE TABLE treadle_meta (name text, value text)", "CREATE NONSENSE"))
    monkeypatch.setattr(migrate, "migrations", lambda dialect: (broken,))
    with pytest.raises(StoreError, match="NONSENSE"):
        postgres_migrate.migrate(server)
    assert schema(server).strip() == ""
