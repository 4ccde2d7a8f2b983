"""A Flask application with a factory, as `gunicorn '…factory:create_app()'` and WORKER_APP name it."""

from flask import Flask
from tests.end_to_end.apps import tasks
from tests.end_to_end.apps.views import views

from flask_worker import FlaskWorker

worker = FlaskWorker()
string_length = worker.task(tasks.string_length)
run_for = worker.task(tasks.run_for)
hold = worker.task(tasks.hold)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY="for tests only",
        WORKER_DATABASE_URL="sqlite:///jobs.sqlite3",
        WORKER_APP="tests.end_to_end.apps.factory:create_app()",
    )
    # FLASK_WORKER_DRAIN_S=1 in the environment sets WORKER_DRAIN_S.
    app.config.from_prefixed_env()
    worker.init_app(app)
    app.register_blueprint(views(worker, string_length, run_for, hold))
    return app
