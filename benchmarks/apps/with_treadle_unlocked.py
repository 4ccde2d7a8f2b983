"""The job in Treadle, without its writer's lock: what senders feel where only SQLite's own busy handler orders them."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.apps.with_treadle import app, job, prepare, send, send_bulk, send_each, unfinished
from treadle.store import sqlite_file

__all__ = ["app", "job", "prepare", "send", "send_bulk", "send_each", "unfinished"]


@contextmanager
def _at_once(handle: sqlite_file._Handle) -> Iterator[None]:
    yield


sqlite_file._in_turn = _at_once
