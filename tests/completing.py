"""An application whose tasks end their own jobs, in a transaction with a row of theirs."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session

from treadle import Backoff, Context, Treadle

app = Treadle("memory://", concurrency=1)

INSERT = "INSERT INTO own VALUES ('paid')"


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A connection of the driver's, closed at the end, which commits nothing."""
    is_sqlite = url.startswith("sqlite")
    connection: Any = sqlite3.connect(url.removeprefix("sqlite:///")) if is_sqlite else psycopg.connect(url)
    try:
        yield connection
    finally:
        connection.close()


def _leave_line(journal: str) -> int:
    """Returns how many runs there were, with this one."""
    with Path(journal).open("a") as file:
        file.write("run\n")
    return len(Path(journal).read_text().splitlines())


@app.task(takes_context=True, max_attempts=2, backoff=Backoff.none())
def pay(context: Context, url: str, journal: str, fault: str = "") -> str:
    """Leaves a row and the end of its job; in the first run something goes wrong."""
    fault = fault if _leave_line(journal) == 1 else ""
    with connected(url) as connection:
        connection.execute(INSERT)
        context.progress(1, 1, "paid")
        context.send("paid")
        context.complete_in(connection, {"paid": True})
        _meet(fault, "before the commit")
        if fault != "no commit":
            connection.commit()
        _meet(fault, "after the commit")
    return "of no interest"


def _meet(fault: str, where: str) -> None:
    if fault == f"killed {where}":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == f"raises {where}":
        raise ValueError(fault)


kept: list[Any] = []
"""Connections that stay open, as those of a pool."""


@app.task(takes_context=True)
def pay_and_forget(context: Context, url: str, raises: bool) -> None:
    """Leaves its transaction open, on a connection that stays."""
    path = url.removeprefix("sqlite:///")
    # The test closes what was kept in its own process.
    kept.append(psycopg.connect(url) if path == url else sqlite3.connect(path, check_same_thread=False))
    kept[-1].execute(INSERT)
    context.complete_in(kept[-1])
    if raises:
        raise ValueError("of no interest")


@app.task(takes_context=True)
def complete_only(context: Context) -> None:
    """On the last connection that was kept."""
    context.complete_in(kept[-1])


@app.task(takes_context=True)
async def pay_soon(context: Context, url: str) -> None:
    with connected(url) as connection:
        connection.execute(INSERT)
        context.complete_in(connection, "soon")
        connection.commit()


@app.task(takes_context=True)
def pay_by_session(context: Context, url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with Session(engine) as session:
        session.execute(text(INSERT))
        context.complete_in(session, "by session")
        session.commit()


@app.task(takes_context=True)
def pay_each(context: Context, url: str) -> None:
    """As a part of a map."""
    with connected(url) as connection:
        connection.execute(INSERT)
        context.complete_in(connection, 1)
        connection.commit()


@app.task(takes_context=True)
def pay_a_set(context: Context, url: str) -> None:
    with connected(url) as connection:
        connection.execute(INSERT)
        context.complete_in(connection, {1})
        connection.commit()


@app.task(takes_context=True)
def pay_from_snapshot(context: Context, url: str) -> None:
    with connected(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        context.complete_in(connection)


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)
