"""A task that reports while it runs, on the core without a framework. Run: `python report.py`."""

from threading import Thread

from treadle import Treadle

app = Treadle("sqlite:///report.sqlite3")


def load_rows(user_id: int) -> list[str]:
    return [f"row {number} of user {user_id}" for number in range(3)]


@app.task(takes_context=True, max_attempts=3)
def report(context, user_id: int) -> dict:
    rows = load_rows(user_id)
    for done, row in enumerate(rows, start=1):
        context.progress(done, len(rows), f"reading {row}")
    context.send("almost done")  # a message, seen by whoever follows the job
    return {"rows": len(rows)}


if __name__ == "__main__":
    worker = app.worker()
    thread = Thread(target=worker.run)
    thread.start()
    job = app.send_function(report, 7)
    print(job.result(timeout_s=30), [message.body for message in job.messages])
    worker.stop()
    thread.join()
