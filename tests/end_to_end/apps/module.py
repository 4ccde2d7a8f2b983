"""A Flask application at module level. Nothing names it to Treadle."""

from flask import Flask
from tests.end_to_end.apps import tasks
from tests.end_to_end.apps.views import views

from flask_worker import FlaskWorker

app = Flask(__name__)
app.config.update(SECRET_KEY="for tests only", WORKER_DATABASE_URL="sqlite:///jobs.sqlite3")
app.config.from_prefixed_env()
worker = FlaskWorker(app)
string_length = worker.task(tasks.string_length)
hold = worker.task(tasks.hold)
app.register_blueprint(views(worker, string_length, hold))
