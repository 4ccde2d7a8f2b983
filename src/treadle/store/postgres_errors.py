"""The errors of PostgreSQL and its driver, as errors of ours with the next step. See its appendix A for the codes."""

import contextlib
from collections.abc import Iterator

import psycopg

from treadle.errors import (
    SchemaMissing,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)
from treadle.store.masking import without_password

LOST = "what was being written may have been kept or not; it will work again when the server is back"
NOT_REACHED = "nothing was done; it will work again when the server is back, if the address is right"
LOGIN_ADVICE = "check user and password of the address"
IDLE_ADVICE = (
    "nothing of this transaction was kept: it did nothing for longer than the setting postgres_answer_timeout_s, or this "
    "process stood still; do inside only what belongs to it"
)
_EXPLANATIONS: dict[str, tuple[type[StoreError], str]] = {
    "28": (StoreUnavailable, LOGIN_ADVICE),
    "3D": (StoreUnavailable, "make the database, or check its name"),
    "53300": (StoreUnavailable, "raise max_connections, run fewer processes, or put PgBouncer between"),
    "53100": (StoreFull, "free some space; nothing that was kept is lost"),
    "53": (StoreUnavailable, "the server has too little of something; see its log"),
    "25006": (StoreReadOnly, "this is a replica or a read-only session: give the address of the primary"),
    "25P02": (StoreError, "an earlier statement of this transaction has failed: roll it back, or back to a savepoint"),
    "25P03": (StoreUnavailable, IDLE_ADVICE),
    "42501": (StoreReadOnly, "grant this user what is missing on the tables treadle_*"),
    "40": (StoreLocked, "another transaction was in the way: try again"),
    "55P03": (StoreLocked, "another transaction holds a lock: end it and try again"),
    "57014": (StoreLocked, "the statement_timeout of this user has passed: another transaction may hold a lock"),
    "XX001": (StoreDamaged, "restore it from a backup"),
    "XX002": (StoreDamaged, "REINDEX what is named"),
}
"""By code or by its beginning; the longest that fits counts."""
_WHILE_CONNECTING = (
    ("too many clients", _EXPLANATIONS["53300"]),
    ("remaining connection slots", _EXPLANATIONS["53300"]),
    ("too many connections", _EXPLANATIONS["53300"]),
    ("password authentication failed", _EXPLANATIONS["28"]),
    ("no password supplied", _EXPLANATIONS["28"]),
    ("no pg_hba.conf entry", (StoreUnavailable, "let this user connect from here, in pg_hba.conf")),
)
"""By their text, as servers that speak English give it: an error of a connection that is being made has no code."""


@contextlib.contextmanager
def explained(where: str, missing: str = "run `treadle migrate`", lost: str = LOST) -> Iterator[None]:
    """Give an error of the driver as one of ours, with the address and the next step, never with a password.

    `lost`: what it means that the server is not there.
    """
    try:
        yield
    except (psycopg.Error, UnicodeError, OverflowError) as error:
        raise _explain(error, where, missing, lost) from error


def _explain(error: Exception, where: str, missing: str, lost: str) -> StoreError:
    text = without_password(" ".join(str(error).split()))
    code = getattr(error, "sqlstate", None) or ""
    if code in {"42P01", "3F000"}:
        return SchemaMissing(f"{where} has no tables of Treadle ({text}): {missing}")
    if code == "42703":
        return SchemaMissing(f"{where} has tables of an older Treadle ({text}): {missing}")
    for part, (kind, advice) in _WHILE_CONNECTING if not code else ():
        if part in text:
            return kind(f"{where}: {text}; nothing was done; {advice}")
    if isinstance(error, psycopg.OperationalError) and (not code or code.startswith(("08", "57P"))):
        return StoreUnavailable(f"{where}: {text}; {lost}")
    for length in (5, 2):
        if code[:length] in _EXPLANATIONS:
            kind, advice = _EXPLANATIONS[code[:length]]
            return kind(f"{where}: {text}; {advice}")
    return StoreError(f"{where}: {text}")
