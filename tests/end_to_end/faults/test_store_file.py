"""What can happen to the file of a store: locked, write-protected, full, damaged, replaced."""

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.end_to_end.apps import faults
from tests.end_to_end.faults.checker import assert_nothing_is_lost, is_all_done
from tests.end_to_end.faults.conftest import TARGET
from tests.end_to_end.jobs import lines
from tests.end_to_end.server import needs_proc, program
from tests.helpers import eventually, python

from treadle.app import Treadle
from treadle.errors import StoreDamaged, StoreFull, StoreLocked, StoreReplaced

pytestmark = needs_proc

LONGER_S = 20 if "TREADLE_SOAK" in os.environ else 0
"""How long a lock is held on when the worker has told of it."""
LOCK_AND_WAIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds SQLite's lock, and knows nothing of ours."""
    with python("-c", LOCK_AND_WAIT, str(path), stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "locked\n"
        yield
        process.communicate()


def send(app: Treadle, journal: Path, count: int = 20) -> list[str]:
    calls = [faults.work.bind(str(journal), f"{os.urandom(8).hex()}", 1) for _ in range(count)]
    return [handle.id for handle in app.send_many(calls)]


def hold(app: Treadle, journal: Path, gate: Path) -> str:
    """A job that runs until the gate opens; it has begun."""
    job = app.send_function(faults.hold, str(journal), "held", str(gate))
    eventually(lambda: lines(journal), 20)
    return job.id


def told(only, text: str) -> bool:
    return text in only.output


def test_a_lock_that_another_program_holds_is_waited_out(app, jobs, journal, worker, tmp_path):
    """Longer than anybody waits: a send fails and says so, the worker says so once and goes on trying; nothing is lost."""
    with worker() as only:
        sent = send(app, journal)
        with locked(tmp_path / "jobs.sqlite3"):
            with pytest.raises(StoreLocked, match=r"jobs.sqlite3: database is locked; another program has held"):
                send(app, journal)
            eventually(lambda: told(only, "another program has held its lock"), 60)
            threading.Event().wait(LONGER_S)
        sent += send(app, journal)
        eventually(lambda: is_all_done(jobs), 30)
    assert only.output.count("another program has held its lock") == 1
    assert_nothing_is_lost(jobs, journal, sent)
    assert len(jobs.rows()) == len(sent)


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """By the modes of the files, which bind no root."""
    files = [path for path in folder.iterdir() if path.name.startswith("jobs.sqlite3") and path.is_file()]
    for path in files:
        path.chmod(0o444)
    try:
        yield
    finally:
        for path in files:
            path.chmod(0o644)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("tests.end_to_end.apps.sender", ["journal", "1"]), ("treadle.cli", ["worker", "run", TARGET])],
)
def test_a_file_that_may_not_be_written_is_told(app, jobs, journal, worker, tmp_path, module, arguments):
    """A sender and a worker end with one line, which names the file and says what to do; what was sent is there."""
    sent = send(app, journal)
    app.close()
    with write_protected(tmp_path):
        command = ("-m", "tests.end_to_end.apps.without_privileges", module, *arguments)
        with program(*command, folder=tmp_path) as refused:
            if refused.ended() == 1 and "cannot give up its privileges" in refused.output:
                pytest.skip("root cannot give up its privileges here")
        assert refused.process.returncode == 1
        [line] = refused.output.splitlines()
        assert f"{tmp_path}/jobs.sqlite3" in line
        assert "writable" in line
    with worker():
        eventually(lambda: is_all_done(jobs), 30)
    assert_nothing_is_lost(jobs, journal, sent)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


def test_a_full_disk_keeps_what_it_has(small_disk, look_into, journal, gate, worker):
    """A send fails and says so; the end of a running job waits in its worker, and is written when there is room."""
    path = small_disk / "jobs.sqlite3"
    app = Treadle(f"sqlite:///{path}", registry=faults.app.registry, app=TARGET)
    with closing(app), worker(FAULTS_URL=f"sqlite:///{path}") as only:
        sent = [hold(app, journal, gate)]
        ballast = fill(small_disk)
        with pytest.raises(StoreFull, match=r"small/jobs.sqlite3: database or disk is full; free some space"):
            while True:
                sent += send(app, journal, 1)
        gate.touch()
        eventually(lambda: told(only, "database or disk is full; free some space"), 30)
        ballast.unlink()
        jobs = look_into(path)
        eventually(lambda: is_all_done(jobs), 30)
        sent += send(app, journal)
        eventually(lambda: is_all_done(jobs), 30)
        assert_nothing_is_lost(jobs, journal, sent)
        # Before the file system goes.
        jobs.close()
    assert {job.state for job in jobs.rows()} == {"succeeded"}


def test_a_file_that_may_not_grow_is_told(app, jobs, journal, tmp_path):
    """Where a limit of the system, and not the disk, refuses a write, the line names the file and says what to do."""
    sent = send(app, journal)
    limited = (
        "import resource, runpy, sys; size = int(sys.argv.pop(1));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size));"
        "runpy.run_module('tests.end_to_end.apps.sender', run_name='__main__', alter_sys=True)"
    )
    size = str((tmp_path / "jobs.sqlite3-wal").stat().st_size + 20_000)
    with program("-c", limited, size, str(journal), "1000", folder=tmp_path) as refused:
        assert refused.ended() == 1
    [line] = [line for line in refused.output.splitlines() if line.startswith("Store")]
    assert f"{tmp_path}/jobs.sqlite3: disk I/O error; " in line
    assert set(sent) < {job.id for job in jobs.rows()}


def back_up(path: Path, target: Path) -> None:
    """As the operations guide says."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def replace(path: Path, by: Path) -> None:
    """Put a backup in the place of the file, and take away what belonged to the old one."""
    by.replace(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def damage(path: Path) -> None:
    """Overwrite the first page of the jobs."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'treadle_job'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def test_a_damaged_page_is_told_and_a_backup_helps(app, jobs, journal, worker, tmp_path):
    """Senders and workers say what to do; with the backup in its place the jobs in it are done."""
    path, backup = tmp_path / "jobs.sqlite3", tmp_path / "backup.sqlite3"
    sent = send(app, journal)
    back_up(path, backup)
    app.close()
    jobs.close()
    damage(path)
    with pytest.raises(StoreDamaged, match=r"jobs.sqlite3: .*malformed; restore it from a backup"):
        send(app, journal)
    with worker() as only:
        eventually(lambda: told(only, "restore it from a backup"), 30)
    replace(path, backup)
    with worker():
        eventually(lambda: is_all_done(jobs), 30)
    assert_nothing_is_lost(jobs, journal, sent)


def test_a_file_that_was_replaced_is_noticed(app, jobs, journal, worker, tmp_path):
    """Nobody goes on writing to the old file: senders and workers say so once, and use the new one from then on."""
    path, backup = tmp_path / "jobs.sqlite3", tmp_path / "backup.sqlite3"
    with worker() as only:
        sent = send(app, journal)
        eventually(lambda: is_all_done(jobs), 30)
        back_up(path, backup)
        replace(path, backup)
        with pytest.raises(StoreReplaced, match=r"jobs.sqlite3 is another file than .*replaced"):
            send(app, journal)
        eventually(lambda: told(only, "jobs.sqlite3 is another file than"), 30)
        sent += send(app, journal)
        jobs.close()
        eventually(lambda: is_all_done(jobs), 30)
    assert_nothing_is_lost(jobs, journal, sent)
