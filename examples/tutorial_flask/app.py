"""The site of the tutorial: it counts the words of texts. Start: `flask run`."""

from collections import Counter
from time import sleep

from flask import Flask, render_template, request

from flask_worker import FlaskWorker

app = Flask(__name__)
app.config.from_prefixed_env()
worker = FlaskWorker(app)


@worker.task(takes_context=True)
def count_words(context, text: str) -> dict[str, int]:
    counts = Counter()
    lines = text.splitlines()
    for done, line in enumerate(lines, start=1):
        counts.update(line.lower().split())
        sleep(0.02)  # So that there is something to see.
        context.progress(done, len(lines), "counting")
    return dict(counts.most_common(10))


@worker.task
def count_file(text: str) -> dict[str, int]:
    return dict(Counter(text.lower().split()))


@worker.task
def add_up(counts: list[dict[str, int]]) -> dict[str, int]:
    total = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common(10))


@app.get("/")
def form():
    return render_template("form.html")


@app.post("/count")
def count():
    job = worker.send_function(count_words, request.form["text"])
    return render_template("job.html", job=job)


@app.post("/count-files")
def count_files():
    texts = [file.read().decode() for file in request.files.getlist("files")]
    job = worker.send_map(count_file, texts, reduce=add_up)
    return render_template("job.html", job=job)


@app.post("/lengths")
def lengths():
    return list(worker.pool.map(len, request.json))
