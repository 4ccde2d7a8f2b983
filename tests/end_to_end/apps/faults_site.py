"""The same jobs, sent by a Flask application that runs no worker of its own."""

from flask import Flask
from tests.end_to_end.apps import tasks
from tests.end_to_end.apps.views import views

from flask_worker import FlaskWorker

app = Flask(__name__)
app.config.update(SECRET_KEY="for tests only", WORKER_DATABASE_URL="sqlite:///jobs.sqlite3", WORKER_EMBEDDED="never")
worker = FlaskWorker(app)
work = worker.task(max_crashes=1000)(tasks.work)
app.register_blueprint(views(worker, work))
