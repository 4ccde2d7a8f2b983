"""Where a PostgreSQL database is: `postgresql://…` taken apart, and shown without its password."""

import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from psycopg import ProgrammingError, conninfo

from treadle.errors import SettingsError
from treadle.store.masking import without_password

Address = Mapping[str, Any]
"""How to connect, in the words of libpq: `host`, `port`, `dbname`, `user`, `password` …"""

PLACE = ("host", "hostaddr", "port", "dbname", "service", "options")
"""What of an address says which tables are meant."""


def parse(url: str) -> Address:
    """The address that a URL gives. Raises SettingsError, which shows no password."""
    try:
        return conninfo.conninfo_to_dict(url)
    except ProgrammingError as error:
        reason = without_password(str(error).strip())
    # Out here, since the driver's error holds the URL.
    raise SettingsError(f"database_url {without_password(url)!r} cannot be read: {reason}")


def shown(address: Address) -> str:
    """An address for people: neither user nor password."""
    host = address.get("hostaddr") or address.get("host") or ""
    port = f":{address['port']}" if address.get("port") else ""
    name = f"/{address.get('dbname', '')}"
    if str(host).startswith("/"):
        return f"postgresql://{name}?host={host}{port and f'&port={port[1:]}'}"
    return f"postgresql://{host}{port}{name}"


def alive_folder(address: Address) -> Path | None:
    """Where this user's workers on this host hold their locks; None where no safe folder can be had.

    Workers that write the address differently do not find each other's locks there, and go by their leases.
    """
    home = _home()
    if home is None:
        return None
    place = "\n".join(f"{name}={address.get(name, '')}" for name in PLACE)
    return home / sha256(place.encode()).hexdigest()[:16]


def _home() -> Path | None:
    runtime = Path(f"/run/user/{os.getuid()}")
    parent = runtime if os.access(runtime, os.W_OK) else Path(tempfile.gettempdir())
    home = parent / f"treadle-{os.getuid()}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        # In a folder that all may write somebody else could have made it first.
        return home if home.lstat().st_uid == os.getuid() and home.is_dir() and not home.is_symlink() else None
    except OSError:
        return None
