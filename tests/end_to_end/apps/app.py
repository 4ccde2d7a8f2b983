"""A Flask application as a beginner writes it, without any setting: `python app.py`, or `flask run` in its folder."""

import os

from asgiref.wsgi import WsgiToAsgi
from flask import Flask
from tests.end_to_end.apps import tasks
from tests.end_to_end.apps.views import views

from flask_worker import FlaskWorker

app = Flask(__name__)
worker = FlaskWorker(app)


@worker.task
def string_length(text: str) -> int:
    return len(text)


@worker.task
def hold(started: str, gate: str) -> str:
    return tasks.hold(started, gate)


app.register_blueprint(views(worker, string_length, hold))

asgi = WsgiToAsgi(app)

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
