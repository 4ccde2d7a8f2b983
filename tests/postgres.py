"""A PostgreSQL server for the tests: that of TEST_POSTGRES_URL, or one of our own in a temporary folder.

The server is that of the benchmarks, with its default of fsync = on, and is started by the first test that asks for it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from urllib.parse import quote

import pytest
from benchmarks.servers import PostgresServer, ServerMissing


@contextmanager
def a_server() -> Iterator[PostgresServer]:
    """A server of our own, for a test that stops it. Skips where there are no binaries."""
    try:
        server = PostgresServer()
    except ServerMissing as error:
        pytest.skip(f"{error}, or set TEST_POSTGRES_URL")
    try:
        yield server
    finally:
        server.remove()


_names = count(1)


@contextmanager
def a_schema(server_url: str) -> Iterator[str]:
    """The URL of a schema of its own, dropped at the end: quicker to make than a database."""
    import psycopg

    name = f"treadle_test_{os.getpid()}_{next(_names)}"
    options = quote(f"-c search_path={name}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{server_url}{'&' if '?' in server_url else '?'}options={options}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")
