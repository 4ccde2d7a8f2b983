"""A site behind a proxy: settings come from the environment (FLASK_WORKER_DATABASE_URL, …), addresses from the proxy."""

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_worker import FlaskWorker

app = Flask(__name__)
app.config.from_prefixed_env()
# One proxy in front, which says by which name and scheme it was asked.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
worker = FlaskWorker(app)


@worker.task
def string_length(text: str) -> int:
    return len(text)


@app.get("/ping")
def ping():
    return "pong"


@app.post("/length")
def length():
    return worker.accepted(worker.send_function(string_length, request.get_data(as_text=True)))


@app.post("/lengths")
def lengths():
    return list(worker.pool.map(len, request.json))
