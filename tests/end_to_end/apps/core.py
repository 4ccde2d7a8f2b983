"""An application without a framework, for `treadle worker run tests.end_to_end.apps.core:app`."""

import os

from tests.end_to_end.apps import tasks

from treadle import Treadle

app = Treadle(os.environ.get("JOBS_URL", "sqlite:///jobs.sqlite3"), concurrency=1)
string_length = app.task(tasks.string_length)
run_for = app.task(tasks.run_for)
hold = app.task(tasks.hold)
hold_or_tell = app.task(tasks.hold_or_tell)
compute_for_ever = app.task(tasks.compute_for_ever)
crash = app.task(max_crashes=2)(tasks.crash)
hold_gil = app.task(pool="threads")(tasks.hold_gil)

if os.environ.get("SCHEDULED"):
    app.schedule("* * * * * *", string_length.bind("each second"), name="each second")
