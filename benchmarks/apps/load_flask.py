"""The site of `web_load.py` in Flask."""

import os

from flask import Flask, Response, request

from benchmarks.apps import load_task, place
from flask_worker import FlaskWorker
from treadle import Context

app = Flask(__name__)
app.config.update(
    SECRET_KEY="nothing of worth is signed",
    WORKER_DATABASE_URL=f"sqlite:///{place.folder() / 'jobs.sqlite3'}",
    WORKER_EMBEDDED="never",
)
worker = FlaskWorker(app)


@worker.task(takes_context=True)
def job(context: Context, kind: str) -> int:
    return load_task.run(context, kind)


@app.get("/ping")
def ping() -> str:
    """The process that answers."""
    return str(os.getpid())


@app.post("/send")
def send() -> Response:
    return worker.accepted(worker.send_function(job, request.args["kind"]))
