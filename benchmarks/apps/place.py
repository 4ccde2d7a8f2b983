"""Where one measurement happens: a folder and a database, known to every process of it through the environment."""

import os
from pathlib import Path

FOLDER = "TREADLE_BENCH_FOLDER"
SYNCHRONOUS = "TREADLE_BENCH_SYNCHRONOUS"
POSTGRES_URL = "TREADLE_BENCH_POSTGRES_URL"
REDIS_URL = "TREADLE_BENCH_REDIS_URL"
BUSY_TIMEOUT_S = 30
"""For the peers, as Django advises: with the usual 5 s a db_worker once died of "database is locked" on a busy machine."""


def folder() -> Path:
    """The folder of this measurement, new for each library and repetition."""
    return Path(os.environ[FOLDER])


def postgres_url() -> str | None:
    """The address of a database of its own, where the jobs are to be kept in PostgreSQL."""
    return os.environ.get(POSTGRES_URL)


def redis_url() -> str | None:
    """The address of a server of its own, where the jobs are to be kept in Redis."""
    return os.environ.get(REDIS_URL)


def synchronous() -> str | None:
    """SQLite's `synchronous` for every library, NORMAL or FULL; None: what each uses by default."""
    return os.environ.get(SYNCHRONOUS)


def pragmas() -> str:
    """The statement that sets it on a connection; empty where nothing is to be set."""
    return f"PRAGMA synchronous = {synchronous()}" if synchronous() else ""
