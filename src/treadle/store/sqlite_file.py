"""One SQLite file: its connections, its writer's lock, and the errors it can give.

Every write begins with a blocking `flock` on `<file>-writer` and then BEGIN IMMEDIATE. SQLite's own
busy handler sleeps and retries, which starves whoever is unlucky: with six processes that enqueue
beside a busy worker its p99 was 18.6 ms and its maximum 179 ms, with the lock 0.4 and 5 ms. The busy
time-out stays for writers that are not ours.

SQLite connections must not cross a fork: a child forgets them without closing them, since closing
would touch the locks and the memory map of its parent's file.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

from treadle.clock import SystemClock
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

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for a lock of SQLite that another program holds."""
NOTICEABLE_S = 0.05
LARGE_WAL_BYTES = 64 * 1024 * 1024
"""At this size an enqueuing process checkpoints by itself: no worker seems to be there to do it."""
CHECKPOINT_WAL_BYTES = 4 * 1024 * 1024
NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ncpfs",
        "glusterfs",
        "ceph",
        "lustre",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
        "beegfs",
    ]
)


class Connections(Protocol):
    """Where the statements of a store run: our own file, or a framework's connection."""

    def reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """A connection to look with."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """A connection inside a transaction that may write; ends in a commit, or in a rollback on error."""
        ...


class _Handle(NamedTuple):
    """A connection and its own descriptor of the lock file: a flock excludes descriptors, not threads."""

    connection: sqlite3.Connection
    lock_fd: int
    inode: tuple[int, int]
    """Which file was opened under the name."""


class SqliteFile:
    """The connections of this process to one file, opened when needed and kept for the next use."""

    def __init__(self, path: Path, *, synchronous: str = "NORMAL", missing: str = "run `treadle migrate`") -> None:
        """`missing`: what to do where the tables are missing, for the message.

        Raises NetworkFileSystem, or ConfigurationError where the folder is missing.
        """
        self.path = path.absolute()
        self._synchronous = synchronous
        self.missing = missing
        _refuse_missing_folder(self.path)
        _refuse_network_file_system(self.path)
        self._forget_connections()
        _open_files.add(self)

    def _forget_connections(self) -> None:
        self._idle: list[_Handle] = []
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        if self._in_transaction is not None:
            yield self._in_transaction
            return
        with self._explained(), self._handle() as handle:
            yield handle.connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        if self._in_transaction is not None:
            with self._explained(), part_of_transaction(self._in_transaction):
                yield self._in_transaction
            return
        with self._explained(), self._handle() as handle, _in_turn(handle):
            self._of_thread.connection = handle.connection
            try:
                with immediate(handle.connection):
                    yield handle.connection
            finally:
                self._of_thread.connection = None
        if self.wal_bytes() > LARGE_WAL_BYTES:
            self.checkpoint()

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return explained(str(self.path), self.missing)

    @contextlib.contextmanager
    def writer_lock(self) -> Iterator[None]:
        """The writer's lock alone, for a writer with a connection of its own."""
        with self._lock_file() as fd, _locked(fd):
            yield

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread is inside `writing`."""
        return self._in_transaction is not None

    @property
    def _in_transaction(self) -> sqlite3.Connection | None:
        """The connection of this thread's open `writing`: what is inside takes effect with it."""
        return getattr(self._of_thread, "connection", None)

    @contextlib.contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """A connection outside any transaction, with the writer's lock held."""
        with self._explained(), self._handle() as handle, _locked(handle.lock_fd):
            yield handle.connection

    @contextlib.contextmanager
    def _handle(self) -> Iterator[_Handle]:
        try:
            handle = self._idle.pop()
        except IndexError:
            handle = self._open()
        self._refuse_replaced(handle)
        try:
            yield handle
        except sqlite3.Error:
            # It may be the connection itself that is damaged; a new one costs 0.3 ms.
            _close(handle)
            raise
        except BaseException:
            self._idle.append(handle)
            raise
        else:
            self._idle.append(handle)

    def _open(self) -> _Handle:
        lock_fd = self._open_lock()
        try:
            return _Handle(self.connect(), lock_fd, self._inode())
        except BaseException:
            _close_lock(lock_fd)
            raise

    def _inode(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return 0, 0
        return found.st_dev, found.st_ino

    def _refuse_replaced(self, handle: _Handle) -> None:
        """What is written to a file that has lost its name is lost with it: so open what is there now, and say so."""
        if handle.inode == self._inode():
            return
        _close(handle)
        self.close()
        raise StoreReplaced(
            f"{self.path} is another file than this process had opened: it was replaced, moved or deleted. Nothing was "
            "done now; what comes next uses the file that is there. Restart this process, and all that use the file"
        )

    @contextlib.contextmanager
    def _lock_file(self) -> Iterator[int]:
        fd = self._open_lock()
        try:
            yield fd
        finally:
            _close_lock(fd)

    def _open_lock(self) -> int:
        try:
            fd = os.open(f"{self.path}-writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreReadOnly(
                f"{self.path}-writer cannot be opened: {error.strerror}; the folder of the store must be writable"
            ) from error
        _open_locks.add(fd)
        return fd

    def connect(self) -> sqlite3.Connection:
        """A new connection of our settings, which the caller closes."""
        # isolation_level None: no transaction but those we begin ourselves.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            # A checkpoint inside a commit would make that commit slow, whoever's it is: it is a duty of the worker.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def wal_bytes(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log into the file, if there is much and nobody reads.

        Under the writer's lock, so that no commit of ours can meet a second checkpoint (SQLite 3.7.0 to
        3.51.2 could damage the file then), and without waiting for readers: the next call does the rest.
        """
        if self.wal_bytes() < CHECKPOINT_WAL_BYTES:
            return
        with self.locked() as connection:
            _set_patience(connection, 0)
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                _set_patience(connection, BUSY_TIMEOUT_S)

    def close(self) -> None:
        while self._idle:
            _close(self._idle.pop())


@contextlib.contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that may write from its first statement on: a later upgrade could fail at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def part_of_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Inside a transaction that somebody else ends: what fails here leaves nothing of itself in it."""
    connection.execute("SAVEPOINT treadle")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO treadle")
            connection.execute("RELEASE treadle")
        raise
    connection.execute("RELEASE treadle")


@contextlib.contextmanager
def explained(where: str, missing: str = "run `treadle migrate`", locked: str = "") -> Iterator[None]:
    """Give an error of SQLite as one of ours, with the file and the next step."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if "no such table: treadle_" in str(error):
            raise SchemaMissing(f"{where} has no tables of Treadle: {missing}") from error
        if "no such column" in str(error) or "has no column named" in str(error):
            raise SchemaMissing(f"{where} has tables of an older Treadle ({error}): {missing}") from error
        if code not in _EXPLANATIONS:
            raise StoreError(f"{where}: {error}") from error
        kind, advice = _EXPLANATIONS[code]
        raise kind(f"{where}: {error}; {locked if kind is StoreLocked and locked else advice}") from error


_BUSY_ADVICE = (
    f"another program has held its lock for more than {BUSY_TIMEOUT_S:.0f} s: end its transaction "
    "(a shell? a backup?) and try again"
)
_EXPLANATIONS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreLocked, _BUSY_ADVICE),
    sqlite3.SQLITE_LOCKED: (StoreLocked, _BUSY_ADVICE),
    sqlite3.SQLITE_READONLY: (StoreReadOnly, "make the file and its folder writable for this user"),
    sqlite3.SQLITE_CANTOPEN: (StoreReadOnly, "make the file and its folder readable and writable for this user"),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "the disk, its file system or a limit of this process (ulimit -f) refuses: see the log of the system",
    ),
    sqlite3.SQLITE_FULL: (StoreFull, "free some space; nothing that was kept is lost"),
    sqlite3.SQLITE_CORRUPT: (StoreDamaged, "restore it from a backup, or `sqlite3 FILE .recover` it"),
    sqlite3.SQLITE_NOTADB: (StoreDamaged, "this is not a SQLite file: check the address of the store"),
}


@contextlib.contextmanager
def _locked(lock_fd: int) -> Iterator[None]:
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock_fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def _in_turn(handle: _Handle) -> Iterator[None]:
    """The writer's lock, for a transaction.

    Who has waited for it waits so much less for SQLite's own. Else a lock that another program holds would make our
    writers wait BUSY_TIMEOUT_S one after the other, and the last of ten for ten times as long.
    """
    asked_s = _clock.monotonic_s()
    fcntl.flock(handle.lock_fd, fcntl.LOCK_EX)
    waited_s = _clock.monotonic_s() - asked_s
    has_waited = waited_s > NOTICEABLE_S
    try:
        if has_waited:
            _set_patience(handle.connection, max(BUSY_TIMEOUT_S - waited_s, NOTICEABLE_S))
        yield
    finally:
        if has_waited:
            _set_patience(handle.connection, BUSY_TIMEOUT_S)
        fcntl.flock(handle.lock_fd, fcntl.LOCK_UN)


def _set_patience(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _close(handle: _Handle) -> None:
    handle.connection.close()
    _close_lock(handle.lock_fd)


def _close_lock(fd: int) -> None:
    _open_locks.discard(fd)
    os.close(fd)


def _refuse_missing_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of the store does not exist: {path.parent}; make it first")


def _refuse_network_file_system(path: Path) -> None:
    kind = file_system_of(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise NetworkFileSystem(
            f"{path} lies on a network file system ({kind}), where SQLite's locks cannot be trusted; use a local disk"
        )


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the file system that holds a folder, or None where the machine does not tell."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    best, kind = "", None
    real = str(folder.resolve())
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        if len(point) >= len(best) and (real == point or real.startswith(point.rstrip("/") + "/")):
            best, kind = point, after.split()[0]
    return kind


_clock = SystemClock()
_open_locks: set[int] = set()
_open_files: "WeakSet[SqliteFile]" = WeakSet()
_left_alone: list[Any] = []


def _forget_after_fork() -> None:
    # Those in use too: a lock that another thread held at the fork would outlive its holder here.
    while _open_locks:
        os.close(_open_locks.pop())
    for file in _open_files:
        _left_alone.append((file._idle, file._of_thread))
        file._forget_connections()


os.register_at_fork(after_in_child=_forget_after_fork)
