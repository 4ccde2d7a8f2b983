"""A Flask application of the tests, made anew for each of them."""

from typing import Any, NoReturn

from flask import Flask, current_app, g, request

from flask_worker import FlaskWorker
from treadle import Backoff, Context, Reject, Snooze

worker = FlaskWorker()


@worker.task
def string_length(text: str) -> int:
    return len(text)


@worker.task
def fail(message: str) -> NoReturn:
    raise ValueError(message)


@worker.task(max_attempts=2, backoff=Backoff.none())
def fail_twice() -> NoReturn:
    raise ValueError("again")


@worker.task
def snooze(after_s: float) -> NoReturn:
    raise Snooze(after_s)


@worker.task(max_attempts=9)
def reject(reason: str) -> NoReturn:
    raise Reject(reason)


@worker.task(takes_context=True)
def count_to(context: Context, number: int) -> int:
    for done in range(number):
        context.progress(done + 1, number, f"step {done + 1}")
    context.send({"counted": number})
    return number


@worker.task
async def double_soon(number: int) -> int:
    return 2 * number


@worker.task
def count_visits() -> tuple[str, int]:
    """The application that is current, and how often this very context was visited."""
    g.visits = g.get("visits", 0) + 1
    return current_app.name, g.visits


@worker.task
def send_another(text: str) -> str:
    return worker.send_function(string_length, text).id


def create_app(**config: Any) -> Flask:
    """With the settings of a test; every application that this makes stands alone."""
    app = Flask(__name__)
    app.config.update({"TESTING": True, "SECRET_KEY": "for tests only", "WORKER_MODE": "collect", **config})
    worker.init_app(app)

    @app.post("/length")
    def length() -> Any:
        return worker.accepted(worker.send_function(string_length, request.get_data(as_text=True)))

    @app.get("/ping")
    def ping() -> str:
        return "ok"

    return app


def create_plain_app() -> Flask:
    """An application without a FlaskWorker."""
    return Flask(__name__)


not_an_app = 7
