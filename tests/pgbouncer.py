"""PgBouncer in its transaction mode before a PostgreSQL server, for the tests; skips where it is not installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.helpers import eventually

NOBODY = 65534
"""PgBouncer refuses to run as root."""
SESSIONS = 4
"""Of the server for each user: fewer than some tests have connections, so that these are given whichever is free."""

CONFIG = """
[databases]
* = host={host} port={port}

[pgbouncer]
unix_socket_dir = {folder}
listen_port = 6432
pool_mode = transaction
default_pool_size = {sessions}
max_db_connections = 20
auth_type = trust
auth_user = {user}
auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1
auth_file = {folder}/users
logfile = {folder}/log
"""


class PgBouncer:
    """The program; what is asked of it goes to the server of this URL."""

    def __init__(self, folder: Path, server_url: str) -> None:
        self._folder = folder
        self._server_url = server_url
        self._names = count(1)

    @contextmanager
    def user(self) -> Iterator[str]:
        """The URL of a user whose tables lie in a schema of its own, as no session can choose one."""
        name = f"treadle_bounced_{os.getpid()}_{next(self._names)}"
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN")
            connection.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
            connection.execute(f"ALTER ROLE {name} SET search_path = {name}")
            try:
                yield f"postgresql://{name}@/{connection.info.dbname}?host={self._folder}&port=6432"
            finally:
                connection.execute(f"DROP SCHEMA {name} CASCADE")
                connection.execute(f"DROP ROLE {name}")


@contextmanager
def pgbouncer_before(server_url: str) -> Iterator[PgBouncer]:
    """PgBouncer, as long as the block lasts."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no PgBouncer: install it (apt install pgbouncer)")
    _skip_without_rights(server_url)
    address = conninfo_to_dict(server_url)
    with tempfile.TemporaryDirectory(prefix="treadle-pgb-") as name:
        folder = Path(name)
        user = address.get("user", "postgres")
        config = folder / "pgbouncer.ini"
        config.write_text(
            CONFIG.format(
                host=address.get("host", "127.0.0.1"), port=address.get("port", 5432), folder=folder,
                sessions=SESSIONS, user=user,
            )
        )  # fmt: skip
        (folder / "users").write_text(f'"{user}" "{address.get("password", "")}"\n')
        as_user = {}
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
            as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        process = subprocess.Popen([program, "-q", str(config)], cwd="/", **as_user)
        try:
            eventually((folder / ".s.PGSQL.6432").exists)
            yield PgBouncer(folder, server_url)
        finally:
            process.kill()
            process.wait()


def _skip_without_rights(server_url: str) -> None:
    """On a server that is given the tests may not be allowed to make users."""
    with psycopg.connect(server_url) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if row != (True,):
        pytest.skip("the user of TEST_POSTGRES_URL is no superuser")
