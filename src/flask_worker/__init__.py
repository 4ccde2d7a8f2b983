"""Treadle in Flask: `worker = FlaskWorker(app)`, `@worker.task`, `worker.send_function(task, …)`."""

from flask_worker.extension import FlaskWorker

__all__ = ["FlaskWorker"]
