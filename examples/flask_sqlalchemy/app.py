"""Rows and jobs that are kept together, or not at all. Start: `flask create-tables`, `flask worker migrate`, `flask run`,
then `curl -d name=Ada http://127.0.0.1:5000/guests`."""

import os
from pathlib import Path

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, mapped_column

from flask_worker import FlaskWorker

SEATS = 3

app = Flask(__name__)
# One database for the rows and the jobs.
url = os.environ.get("DATABASE_URL", f"sqlite:///{Path(__file__).with_name('party.sqlite3')}")
app.config["WORKER_DATABASE_URL"] = url
app.config["SQLALCHEMY_DATABASE_URI"] = url.replace("postgresql:", "postgresql+psycopg:")
db = SQLAlchemy(app)
worker = FlaskWorker(app)


class Guest(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    invitations: Mapped[int] = mapped_column(default=0)


@worker.task(takes_context=True)
def invite(context, guest_id: int) -> None:
    guest = db.session.get(Guest, guest_id)
    guest.invitations += 1
    db.session.flush()
    context.complete_in(db.session.connection(), guest.name)  # the result
    db.session.commit()  # the invitation and the end of the job are kept together


@app.post("/guests")
def add_guest():
    guest = Guest(name=request.form["name"])
    db.session.add(guest)
    db.session.flush()  # gives it its id
    job = worker.send_function(invite.options(connection=db.session.connection()), guest.id)
    if db.session.scalar(select(func.count(Guest.id))) > SEATS:
        db.session.rollback()  # the guest and the job are gone together
        return {"error": "no seat is free"}, 409
    db.session.commit()  # only now a worker sees the job
    return worker.accepted(job)


@app.get("/guests")
def guests():
    return [{"name": guest.name, "invitations": guest.invitations} for guest in db.session.scalars(select(Guest))]


@app.cli.command("create-tables")
def create_tables():
    db.create_all()
