"""An application whose jobs outlive what is done to the processes that run them; its store may lie anywhere."""

import os

from tests.end_to_end.apps import tasks

from treadle import Treadle

app = Treadle(
    os.environ.get("FAULTS_URL", "sqlite:///jobs.sqlite3"),
    concurrency=2,
    postgres_answer_timeout_s=float(os.environ.get("FAULTS_ANSWER_TIMEOUT_S", "30")),
)
work = app.task(max_crashes=1000)(tasks.work)
hold = app.task(max_crashes=1000)(tasks.hold_with)
die = app.task(max_crashes=1)(tasks.crash_with)
