"""The store in a SQLite file."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from tests.helpers import python

from treadle.errors import SchemaMissing, SchemaTooNew, StoreError
from treadle.job import Outcome, OutcomeKind, Progress, Report
from treadle.store import migrate
from treadle.store import sqlite as sqlite_store
from treadle.store.contract import Store
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle.testing.store_contract import ERROR, NOW_US, StoreContract, claim, finish, found, make_job, read


class TestSqliteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self) -> Store:
        return SqliteStore(SqliteFile(self.folder / "jobs.sqlite3"))

    def reopen(self, store: Store) -> Store:
        return self.make_store()


class TestSqliteStoreWithFullSync(TestSqliteStore):
    def make_store(self) -> Store:
        return SqliteStore(SqliteFile(self.folder / "jobs.sqlite3", synchronous="FULL"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


@pytest.fixture
def store(path: Path) -> SqliteStore:
    store = SqliteStore(SqliteFile(path))
    store.prepare()
    return store


@pytest.fixture
def raw(store: SqliteStore, path: Path) -> sqlite3.Connection:
    """A connection that is not ours, to a store with one running job."""
    store.enqueue([make_job(), make_job()])
    claim(store, 1)
    return sqlite3.connect(path, isolation_level=None)


def test_preparing_again_changes_nothing(store: SqliteStore) -> None:
    """Every process that opens the store prepares it."""
    store.enqueue([make_job()])
    store.prepare()
    assert len(found(store)) == 1


def test_processes_that_prepare_at_once_do_not_collide(path: Path) -> None:
    """Four processes that open a new file at the same moment all succeed."""
    program = (
        "import sys; from pathlib import Path; from treadle.store.sqlite import SqliteStore, SqliteFile\n"
        "store = SqliteStore(SqliteFile(Path(sys.argv[1]))); sys.stdin.read(); store.prepare(); store.secret()"
    )
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(python("-c", program, str(path), stdin=-1)) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [(process.wait(), process.stderr.read()) for process in processes if process.stderr] == [(0, "")] * 4


def test_the_file_is_in_wal_mode(store: SqliteStore, path: Path) -> None:
    """Readers do not wait for writers."""
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_alive_folder_stands_beside_the_file(store: SqliteStore, path: Path) -> None:
    """Every process that finds the file finds the folder."""
    assert store.alive_folder == path.with_name("jobs.sqlite3-alive")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE treadle_job SET state = 'done'",
        "UPDATE treadle_job SET state = 'succeeded' WHERE state = 'ready'",
        "UPDATE treadle_job SET finished_at = 1 WHERE state = 'ready'",
        "UPDATE treadle_job SET state = 'running', token = 1 WHERE state = 'ready'",
        "UPDATE treadle_job SET worker_id = 'w' WHERE state = 'ready'",
        "UPDATE treadle_job SET token = 0 WHERE state = 'running'",
        "UPDATE treadle_job SET result = '1' WHERE state = 'running'",
        "UPDATE treadle_job SET priority = 101",
        "UPDATE treadle_job SET kind = 'group'",
        "UPDATE treadle_job SET id = ''",
        "UPDATE treadle_job SET run_at = 'soon'",
        "INSERT INTO treadle_attempt VALUES ('nobody', 1, 1, 'w', 1, 1, 'succeeded', NULL, NULL, NULL)",
        "INSERT INTO treadle_worker VALUES ('w', 'h', 1, 'thread', '[]', 1, 1, 1)",
        "UPDATE treadle_job SET unique_key = 'k'",
        "UPDATE treadle_job SET concurrency_key = 'k', state = 'running', token = 1, worker_id = 'w'",
    ],
)
def test_the_database_guards_what_must_never_be_false(raw: sqlite3.Connection, statement: str) -> None:
    """Whoever writes, and however: a finished job has an end, a running one a worker and a token."""
    raw.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute(statement)


def test_tables_that_are_missing_are_told_with_the_next_step(path: Path) -> None:
    """A verb on an empty file names the file and the command."""
    with pytest.raises(SchemaMissing, match=r"jobs.sqlite3 has no tables of Treadle.*treadle migrate"):
        SqliteStore(SqliteFile(path)).enqueue([make_job()])


def test_a_schema_that_needs_newer_code_is_refused(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """The message names the file, both versions and the package to upgrade."""
    raw.execute("UPDATE treadle_meta SET value = '9' WHERE name IN ('schema_version', 'min_code_version')")
    with pytest.raises(SchemaTooNew, match=r"jobs.sqlite3 was migrated to schema 9 .* upgrade the package 'treadle'"):
        store.prepare()


def test_a_newer_schema_that_older_code_may_use_is_taken(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """In a rolling upgrade old and new code use the store at the same time."""
    raw.execute("UPDATE treadle_meta SET value = '9' WHERE name = 'schema_version'")
    store.prepare()
    store.enqueue([make_job()])


def test_a_damaged_row_does_not_hold_up_the_others(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """A row that cannot be read is no reason to claim nothing."""
    raw.execute("UPDATE treadle_job SET labels = 'damaged' WHERE state = 'ready'")
    good = make_job()
    store.enqueue([good])
    assert good.id in [job.id for job in claim(store, 5)]


def test_an_attempt_of_a_newer_version_can_be_read(store: SqliteStore, raw: sqlite3.Connection) -> None:
    """It may have ended in a way that this one has no word for; its error is told all the same."""
    store.enqueue([make_job(priority=9)])
    (job,) = claim(store, 1)
    finish(store, job, Outcome.raised(ERROR, None))
    raw.execute("UPDATE treadle_attempt SET outcome = 'teleported'")
    assert [(a.outcome, a.failure) for a in store.attempts([job.id])[job.id]] == [(OutcomeKind.OTHER, ERROR)]


def test_a_constraint_that_fails_is_a_store_error(store: SqliteStore) -> None:
    """Never an error of the driver."""
    with pytest.raises(StoreError):
        store.enqueue([make_job(priority=101)])


@pytest.mark.parametrize("value", [2**70, "\udcff"], ids=["huge", "surrogate"])
def test_what_the_driver_cannot_bind_is_a_store_error(store: SqliteStore, value: object) -> None:
    """The driver's OverflowError and UnicodeEncodeError are errors of the store, too."""
    field = "run_at_us" if isinstance(value, int) else "queue"
    with pytest.raises(StoreError):
        store.enqueue([make_job(**{field: value})])


def test_two_processes_claim_each_job_once(store: SqliteStore, path: Path) -> None:
    """Two processes that claim at once share the jobs without loss and without a duplicate."""
    program = (
        "import sys; from pathlib import Path; from treadle.store.sqlite import SqliteStore, SqliteFile\n"
        "from treadle.testing.store_contract import claim\n"
        "store = SqliteStore(SqliteFile(Path(sys.argv[1])))\n"
        "while jobs := claim(store, 3): print(*(job.id for job in jobs), sep='\\n')"
    )
    jobs = [make_job() for _ in range(300)]
    store.enqueue(jobs)
    with python("-c", program, str(path)) as one, python("-c", program, str(path)) as other:
        claimed = (one.communicate()[0] + other.communicate()[0]).split()
    assert sorted(claimed) == sorted(job.id for job in jobs)


def test_a_checkpoint_empties_a_large_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep moves the log into the file once there is much in it, and leaves a small one alone."""
    store = SqliteStore(SqliteFile(path))
    store.prepare()
    store.enqueue([make_job()])
    small = store.file.wal_bytes()
    store.upkeep()
    assert store.file.wal_bytes() == small > 0
    store.enqueue([make_job(payload="x" * 5_000_000)])
    store.upkeep()
    assert store.file.wal_bytes() == 0
    assert len(found(store)) == 2


def test_a_checkpoint_does_not_wait_for_a_reader(store: SqliteStore, path: Path) -> None:
    """With a transaction open elsewhere the log stays, and nobody waits for it."""
    with sqlite3.connect(path, isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM treadle_job").fetchone()
        store.enqueue([make_job(payload="x" * 5_000_000)])
        store.upkeep()
        assert store.file.wal_bytes() > 0
        store.enqueue([make_job()])
    assert len(found(store)) == 2


def test_progress_keeps_whole_numbers_whole(store: SqliteStore) -> None:
    """The column is a float, and 3 comes back as 3."""
    store.enqueue([make_job()])
    (job,) = claim(store, 1)
    store.report([Report(job.claim, Progress(3, 4.5))], NOW_US)
    assert repr(read(store, job).progress) == "Progress(done=3, total=4.5, message='')"


def test_the_schema_version_is_that_of_the_last_migration(raw: sqlite3.Connection) -> None:
    """What `prepare` noted is what it ran."""
    assert sqlite_store.schema_version(raw) == migrate.code_version("sqlite")


def test_a_store_of_the_first_version_is_migrated_with_its_jobs(path: Path) -> None:
    """`prepare` adds what is missing; the jobs are there as before, without limits."""
    first, *_ = migrate.migrations("sqlite")
    old = SqliteFile(path)
    with old.locked() as connection:
        sqlite_store.apply(connection, first)
        connection.execute(
            "INSERT INTO treadle_job VALUES ('1', 'call', 't', 'default', 'processes', 0, 'ready', 0, 0, 1, 0, 3, 0, "
            "NULL, 0, NULL, NULL, NULL, 0, 1, 'default', '{}', '{}', '', NULL, NULL, 1)"
        )
    old.close()
    store = SqliteStore(SqliteFile(path))
    store.prepare()
    (job,) = claim(store, 1)
    assert (job.id, job.limits, job.cancel_requested_at_us) == ("1", {}, None)
    store.close()


def test_tables_of_an_older_version_are_told_with_the_next_step(path: Path) -> None:
    """A verb on tables that lack a column names the file and the command."""
    file = SqliteFile(path)
    with file.locked() as connection:
        sqlite_store.apply(connection, migrate.migrations("sqlite")[0])
    with pytest.raises(SchemaMissing, match=r"jobs.sqlite3 has tables of an older Treadle.*treadle migrate"):
        SqliteStore(file).enqueue([make_job()])
    file.close()


def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables and the note of one migration are kept together."""
    broken = migrate.Migration(1, "broken", ("CREATE TABLE treadle_meta (name, value)", "CREATE NONSENSE"))
    monkeypatch.setattr(migrate, "migrations", lambda dialect: (broken,))
    with pytest.raises(StoreError, match="NONSENSE"):
        SqliteStore(SqliteFile(path)).prepare()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
