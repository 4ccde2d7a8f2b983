"""What each of the Flask applications here answers."""

import os
from typing import Any

from flask import Blueprint, request

from flask_worker import FlaskWorker
from treadle.task import Task


def views(worker: FlaskWorker, *tasks: Task[Any, Any]) -> Blueprint:
    """A blueprint that sends these tasks, and tells which process answers."""
    blueprint = Blueprint("views", __name__)
    by_name = {task.__name__: task for task in tasks}

    @blueprint.get("/ping")
    def ping() -> str:
        return "ok"

    @blueprint.post("/send/<name>")
    def send(name: str) -> Any:
        return worker.accepted(worker.send_function(by_name[name], *request.json))

    @blueprint.post("/states")
    def states() -> dict[str, Any]:
        """The states of these jobs, as this process sees them."""
        return {"pid": os.getpid(), "states": [worker.job(job_id).state for job_id in request.json]}

    @blueprint.post("/lengths")
    def lengths() -> list[int]:
        return list(worker.pool.map(len, request.json))

    return blueprint
