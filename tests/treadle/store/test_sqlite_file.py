"""One SQLite file: its connections, its writer's lock, and the errors it can give."""

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.helpers import PATIENCE_S, open_files, python

from treadle.errors import (
    ConfigurationError,
    NetworkFileSystem,
    SchemaMissing,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreReplaced,
)
from treadle.store import sqlite_file
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile, explained, file_system_of
from treadle.testing.store_contract import found, make_job

MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:30 / {nfs} rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 30 0:31 / {nfs}/local rw - xfs /dev/vdb rw
32 22 0:32 / {space} rw - cifs //server/share rw
"""


class SmallDisk(SqliteFile):
    """A file on a disk that has no room for a large job."""

    def connect(self) -> sqlite3.Connection:
        connection = super().connect()
        connection.execute("PRAGMA max_page_count = 100")
        return connection


class WriteProtected(SqliteFile):
    """A file that this user may only read."""

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(SqliteFile(path))
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """A machine with a network file system at `nfs` and another at `a b`."""
    for name in ("nfs/local", "nfs2", "a b"):
        (tmp_path / name).mkdir(parents=True)
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS.format(nfs=tmp_path / "nfs", space=str(tmp_path / "a b").replace(" ", "\\040")))
    return file


# Transactions


def test_what_is_written_inside_is_kept_at_the_end(store: SqliteStore) -> None:
    """A nested `writing` joins the one around it."""
    with store.file.writing() as outer, store.file.writing() as inner, store.file.reading() as reader:
        assert outer is inner is reader
        outer.execute("INSERT INTO treadle_meta VALUES ('a', 'b')")
    with store.file.reading() as connection:
        assert connection.execute("SELECT value FROM treadle_meta WHERE name = 'a'").fetchone() == ("b",)


def test_an_error_rolls_back(store: SqliteStore) -> None:
    """Whatever kind of error it is, and the next writer finds the file free."""
    with pytest.raises(KeyboardInterrupt), store.file.writing() as connection:
        connection.execute("INSERT INTO treadle_meta VALUES ('a', 'b')")
        raise KeyboardInterrupt
    with store.file.writing() as connection:
        assert connection.execute("SELECT value FROM treadle_meta WHERE name = 'a'").fetchone() is None


def test_writers_wait_for_each_other(store: SqliteStore) -> None:
    """The second writer begins when the first has ended, on another connection."""
    order: list[str] = []
    waiting = threading.Event()

    def write() -> None:
        waiting.set()
        with store.file.writing():
            order.append("second")

    thread = threading.Thread(target=write)
    with store.file.writing():
        thread.start()
        assert waiting.wait(PATIENCE_S)
        order.append("first")
    thread.join(PATIENCE_S)
    assert order == ["first", "second"]


def test_a_reader_does_not_wait_for_a_writer(store: SqliteStore) -> None:
    """It sees the file as it was before."""
    seen: list[int] = []
    with store.transaction():
        store.enqueue([make_job()])
        thread = threading.Thread(target=lambda: seen.append(len(found(store))))
        thread.start()
        thread.join(PATIENCE_S)
    assert seen == [0]


def test_a_writer_holds_the_lock_file(store: SqliteStore, path: Path) -> None:
    """Other processes wait for it with a flock, and find it free at the end."""
    with Path(f"{path}-writer").open() as file:
        with store.file.writing(), pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_closing_leaves_no_open_file(path: Path) -> None:
    """Connections and lock files of this process are closed."""
    store = SqliteStore(SqliteFile(path))
    store.prepare()
    store.enqueue([make_job()])
    assert _open_files(path) > 0
    store.close()
    assert _open_files(path) == 0


# Errors, explained


def test_a_locked_file_is_told_with_what_to_do(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is not ours is waited for, and then named as the reason; nothing is lost."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.01)
    impatient = SqliteStore(SqliteFile(path))
    with sqlite3.connect(path, isolation_level=None) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match=r"jobs.sqlite3: database is locked; another program has held its lock"):
            impatient.enqueue([make_job()])
        foreign.execute("ROLLBACK")
    impatient.enqueue([make_job()])
    assert len(found(store)) == 1


def test_writers_wait_for_a_foreign_lock_together(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty are told when one would be, about: not one after the other, each after a wait of its own."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.5)
    impatient = SqliteStore(SqliteFile(path))
    with sqlite3.connect(path, isolation_level=None) as foreign, ThreadPoolExecutor(20) as threads:
        foreign.execute("BEGIN IMMEDIATE")
        begin_s = time.monotonic()
        sends = [threads.submit(impatient.enqueue, [make_job()]) for _ in range(20)]
        assert [type(send.exception(PATIENCE_S)) for send in sends] == [StoreLocked] * 20
        assert time.monotonic() - begin_s < 20 * 0.5 / 2
        foreign.execute("ROLLBACK")
    impatient.close()


def test_a_file_that_was_replaced_is_not_written_to(store: SqliteStore, path: Path) -> None:
    """What was kept in it would be lost with it: the next verb says so, and the one after uses the new file."""
    other = SqliteStore(SqliteFile(path.with_name("other.sqlite3")))
    other.prepare()
    other.close()
    path.with_name("other.sqlite3").replace(path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    with pytest.raises(StoreReplaced, match=r"jobs.sqlite3 is another file than this process had opened: .* Restart"):
        store.enqueue([make_job()])
    store.enqueue([make_job()])
    assert len(found(SqliteStore(SqliteFile(path)))) == 1


def test_a_file_that_is_gone_is_told(store: SqliteStore, path: Path) -> None:
    """And then that there are no tables: nobody makes them behind the back of whoever took the file away."""
    path.unlink()
    with pytest.raises(StoreReplaced):
        store.enqueue([make_job()])
    with pytest.raises(SchemaMissing):
        store.enqueue([make_job()])


def test_a_disk_that_fails_is_told_with_what_to_do() -> None:
    """SQLite says no more than that there was an error."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with pytest.raises(StoreError, match=r"^jobs: disk I/O error; .*see the log of the system"), explained("jobs"):
        raise error


def test_a_read_only_file_is_told_with_what_to_do(store: SqliteStore, path: Path) -> None:
    """The message names the file and its folder."""
    protected = SqliteStore(WriteProtected(path))
    with pytest.raises(
        StoreReadOnly, match=r"jobs.sqlite3: attempt to write .*; make the file and its folder writable"
    ):
        protected.enqueue([make_job()])
    assert found(protected) == []


def test_a_lock_file_that_cannot_be_opened_is_told(path: Path) -> None:
    """The folder must be writable, too; nothing stays open."""
    Path(f"{path}-writer").mkdir()
    with pytest.raises(StoreReadOnly, match=r"jobs.sqlite3-writer cannot be opened: .*folder"):
        SqliteStore(SqliteFile(path)).prepare()
    assert _open_files(path) == 0


def test_a_file_that_is_a_folder_is_told(path: Path) -> None:
    """SQLite cannot open it, and says so with its name."""
    path.mkdir()
    with pytest.raises(StoreReadOnly, match=r"jobs.sqlite3: unable to open database file"):
        SqliteStore(SqliteFile(path)).prepare()


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    """The address of the store is wrong, most likely; the file stays as it is."""
    path.write_text("this is a letter to my grandmother, and a long one at that\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match=r"jobs.sqlite3: file is not a database; .*check the address"):
        SqliteStore(SqliteFile(path)).prepare()
    assert path.read_bytes() == before


def test_a_damaged_file_is_told_with_what_to_do(store: SqliteStore, path: Path) -> None:
    """The message names the way to recover what is left."""
    store.enqueue([make_job(payload="x" * 100_000)])
    with store.file.locked() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreDamaged, match=r"jobs.sqlite3: .*; restore it from a backup"):
        found(store)


def test_a_full_disk_is_told_and_loses_nothing(store: SqliteStore, path: Path) -> None:
    """What was kept is there, what did not fit is not, and small jobs go on."""
    small = SqliteStore(SmallDisk(path))
    small.enqueue([make_job()])
    with pytest.raises(StoreFull, match=r"jobs.sqlite3: database or disk is full; free some space"):
        small.enqueue([make_job(payload="x" * 1_000_000)])
    small.enqueue([make_job()])
    assert len(found(store)) == 2


def test_a_missing_folder_is_told_at_once(tmp_path: Path) -> None:
    """At start, with its name: no folder is made by guess."""
    with pytest.raises(ConfigurationError, match=r"the folder of the store does not exist: .*nowhere; make it first"):
        SqliteFile(tmp_path / "nowhere" / "jobs.sqlite3")


def test_any_other_error_of_sqlite_is_ours() -> None:
    """It names the file, and its cause is the error of the driver."""
    with pytest.raises(StoreError, match=r"^jobs: no such function: nonsense$") as caught, explained("jobs"):
        sqlite3.connect(":memory:").execute("SELECT nonsense()")
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


def test_a_failed_connection_is_not_used_again(store: SqliteStore) -> None:
    """After an error of the driver the next use opens a new one."""
    with pytest.raises(StoreError), store.file.writing() as bad:
        bad.execute("SELECT nonsense")
    with store.file.writing() as good:
        assert good is not bad


# File systems


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("nfs", "nfs4"), ("nfs/deeper", "nfs4"), ("nfs/local", "xfs"), ("nfs2", "ext4"), ("a b", "cifs"), (".", "ext4")],
)
def test_the_file_system_of_a_folder_is_that_of_its_mount(tmp_path: Path, mounts: Path, folder: str, kind: str) -> None:
    """The longest mount point that holds it decides."""
    assert file_system_of(tmp_path / folder, mounts) == kind


def test_a_machine_that_does_not_tell_has_no_file_system(tmp_path: Path) -> None:
    """Then nothing is refused."""
    assert file_system_of(tmp_path, tmp_path / "missing") is None


def test_a_network_file_system_is_refused(tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's locks cannot be trusted there; the message names the file and the kind."""
    monkeypatch.setattr(sqlite_file, "file_system_of", lambda folder: file_system_of(folder, mounts))
    with pytest.raises(NetworkFileSystem, match=r"nfs/jobs.sqlite3 lies on a network file system \(nfs4\)"):
        SqliteFile(tmp_path / "nfs" / "jobs.sqlite3")
    SqliteFile(tmp_path / "nfs" / "local" / "jobs.sqlite3")


# Forks

FORK = """
import os, sys
from pathlib import Path
from treadle.store.sqlite import SqliteStore, SqliteFile
from treadle.testing.store_contract import found, make_job

store = SqliteStore(SqliteFile(Path(sys.argv[1])))
store.prepare()
store.enqueue([make_job()])
child = os.fork()
for _ in range(50):
    store.enqueue([make_job()])
if child == 0:
    os._exit(0 if len(found(store, limit=500)) >= 51 else 1)
assert os.waitpid(child, 0)[1] == 0
assert len(found(store, limit=500)) == 101
with store.file.reading() as connection:
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
"""

FORK_IN_WRITE = """
import os, sys, threading
from pathlib import Path
from treadle.store.sqlite import SqliteStore, SqliteFile
from treadle.testing.store_contract import make_job

store = SqliteStore(SqliteFile(Path(sys.argv[1])))
store.prepare()
inside, go_on = threading.Event(), threading.Event()

def write():
    with store.transaction():
        inside.set()
        go_on.wait()

threading.Thread(target=write, daemon=True).start()
inside.wait()
if os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
    os.read(0, 1)
    os._exit(0)
os._exit(0)
"""


def test_a_store_goes_on_in_a_forked_process(path: Path) -> None:
    """Parent and child write at once, each on connections of its own, and the file stays sound."""
    with python("-W", "ignore", "-c", FORK, str(path)) as process:
        assert process.communicate()[1] == ""
        assert process.returncode == 0


def test_a_forked_process_does_not_keep_the_writers_lock(path: Path) -> None:
    """A lock that another thread held at the fork ends with the parent, although the child lives on."""
    with python("-W", "ignore", "-c", FORK_IN_WRITE, str(path), stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.wait(PATIENCE_S)
        with Path(f"{path}-writer").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open_files(path: Path) -> int:
    """How many open files of this process are the store's."""
    return sum(name.startswith(str(path)) for name in open_files())


def test_a_file_that_is_no_database_is_not_kept_open(tmp_path: Path) -> None:
    """The connection that found it out is closed, though the error is still held."""
    place = tmp_path / "letter.txt"
    place.write_text("no database at all, just a text that is long enough to be read as one\n" * 20)
    with pytest.raises(StoreDamaged) as caught:
        SqliteStore(SqliteFile(place)).prepare()
    assert "letter.txt" in str(caught.value)
    assert str(place) not in open_files()
