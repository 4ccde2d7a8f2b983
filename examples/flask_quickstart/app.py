"""The twelve lines of the README for Flask. Start: `flask run`, then
`curl -X POST -d hello http://127.0.0.1:5000/length`."""

from flask import Flask, request

from flask_worker import FlaskWorker

app = Flask(__name__)
worker = FlaskWorker(app)


@worker.task
def string_length(text: str) -> int:
    return len(text)


@app.post("/length")
def length():
    job = worker.send_function(string_length, request.get_data(as_text=True))
    return worker.accepted(job)  # 202 and the link to the job


@app.post("/lengths")
def lengths():
    return list(worker.pool.map(len, request.json))  # compute now, on every core
