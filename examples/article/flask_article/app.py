"""The article's program in Flask: send a text, have its length calculated elsewhere, see the answer arrive."""

import os
import sys
from pathlib import Path

from flask import Flask, request

from flask_worker import FlaskWorker

sys.path.append(str(Path(__file__).resolve().parents[1]))
from send_request import SendRequest

# "processes" runs each job in a child process; "threads" runs several at once in one process, as the
# article has it.
POOL = os.environ.get("ARTICLE_POOL", "processes")

app = Flask(__name__)
worker = FlaskWorker(app)


@worker.task(pool=POOL)
def calculate_string_length(data: str) -> int:
    return len(data)


@worker.task(pool=POOL, takes_context=True)
def handle_request(context, text: str) -> int:
    send_request = SendRequest(context, text)
    length = calculate_string_length(send_request.server.request.text)
    send_request.server.send(f"The length of {text!r} is {length}")
    return length


@app.get("/")
def page():
    return app.send_static_file("page.html")


@app.post("/send")
def send():
    return worker.accepted(worker.send_function(handle_request, request.form["text"]))
