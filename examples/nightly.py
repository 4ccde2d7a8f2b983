"""Calls that are sent again and again, on the core without a framework. Run: `python nightly.py`."""

from threading import Thread

from treadle import Treadle

app = Treadle("sqlite:///nightly.sqlite3")


@app.task(takes_context=True, max_attempts=3)
def report(context, user_id: int) -> str:
    return f"report of user {user_id} for {context.headers['scheduled_for']}"


@app.task
def clean_up() -> None:
    """Runs whenever there was a worker at the time, and never late."""


app.schedule("0 3 * * *", report.bind(7), timezone="Europe/Berlin")
app.schedule("*/10 * * * *", clean_up, catch_up="skip")
app.schedule("* * * * * *", report.bind(8), name="each second")  # six fields: the first is the second


if __name__ == "__main__":
    for schedule in app.schedules:
        print(schedule)
    worker = app.worker()
    thread = Thread(target=worker.run)
    thread.start()
    while not (jobs := app.jobs(state="succeeded")):
        thread.join(0.1)
    print(jobs[0].result())
    worker.stop()
    thread.join()
