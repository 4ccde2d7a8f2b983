"""The demo as a Flask application: what a user of Treadle writes is `@worker.task` and the view `send`."""

import os

from flask import Flask, Response, request

from flask_worker import FlaskWorker
from treadle_demo import analysis, views
from treadle_demo.analysis import Result

app = Flask(__name__, static_folder=None)
app.config.update(
    SECRET_KEY=os.environ["TREADLE_DEMO_SECRET"],
    TRUSTED_HOSTS=["127.0.0.1"],
    WORKER_DATABASE_URL=f"sqlite:///{views.folder() / views.STORE}",
)
worker = FlaskWorker(app)


@worker.task
def analyse(path: str) -> Result:
    return analysis.analyse(path)


@worker.task
def combine(results: list[Result]) -> Result:
    return analysis.combine(results)


@app.post("/analyses")
def send() -> Response:
    files = views.wanted_files(request.method, request.mimetype, request.get_data())
    return worker.accepted(worker.send_map(analyse, files, reduce=combine))


@app.get("/ping")
def ping() -> str:
    return views.ping()


@app.get("/input")
def show_input() -> dict[str, str]:
    return views.described_input("Flask")


@app.get("/", defaults={"name": "page.html"})
@app.get("/static/<name>")
def show_file(name: str) -> Response:
    content, headers = views.static_file(name)
    return Response(content, headers=headers)


@app.errorhandler(views.BadRequest)
def refuse(error: views.BadRequest) -> tuple[str, int]:
    return str(error), error.status
