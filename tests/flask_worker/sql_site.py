"""A Flask application with Flask-SQLAlchemy, which opens its database where it is imported, as many do."""

import asyncio
import os
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, func, select
from sqlalchemy.orm import Mapped, mapped_column

from flask_worker import FlaskWorker

app = Flask(__name__)
app.config.update(
    SECRET_KEY="for tests only",
    SQLALCHEMY_DATABASE_URI=os.environ["SQL_SITE_URL"],
    WORKER_DATABASE_URL=os.environ["SQL_SITE_URL"],
    WORKER_CONCURRENCY=2,
)
db = SQLAlchemy(app)
worker = FlaskWorker(app)


class Guest(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


with app.app_context():

    @event.listens_for(db.engine, "connect")
    def note_who_opened(connection: Any, record: Any) -> None:
        record.info["pid"] = os.getpid()

    db.create_all()


def count() -> int:
    return db.session.scalar(select(func.count(Guest.id))) or 0


@worker.task
def who_opened() -> tuple[int, int]:
    """Which process opened the connection of this job, and which runs it."""
    return db.session.connection().info["pid"], os.getpid()


@worker.task
def add(name: str, and_then: str) -> int:
    """Leaves a row in the session, and how many there are then."""
    db.session.add(Guest(name=name))
    db.session.flush()
    if and_then == "raise":
        raise ValueError(name)
    if and_then == "commit":
        db.session.commit()
    return count()


@worker.task
async def session_of_its_own(meet: int) -> int:
    """The session's id, while others of its kind run."""
    db.session.execute(select(1))
    for _ in range(meet):
        await asyncio.sleep(0)
    return id(db.session())


@app.post("/guests")
def add_guest() -> Any:
    db.session.add(Guest(name=request.form["name"]))
    db.session.flush()
    job = worker.send_function(add.options(connection=db.session.connection()), "of the job", "commit")
    getattr(db.session, request.form["then"])()
    return {"id": job.id, "guests": count()}
