"""A task that says itself what becomes of its job, on the core without a framework. Run: `python when_a_task_fails.py`."""

import time
from http import HTTPStatus
from threading import Thread

from treadle import Backoff, Reject, Retry, Snooze, Treadle

app = Treadle("sqlite:///when_a_task_fails.sqlite3")


def ask_bank(order: int, attempt: int, decided_at: float) -> HTTPStatus:
    """A bank that is away at first, then busy, then undecided; it declines odd orders."""
    match attempt:
        case 1:
            raise ConnectionResetError("the bank is away")
        case 2:
            return HTTPStatus.TOO_MANY_REQUESTS
    if order % 2:
        return HTTPStatus.PAYMENT_REQUIRED
    return HTTPStatus.OK if time.time() > decided_at else HTTPStatus.ACCEPTED


@app.task(
    takes_context=True,
    max_attempts=4,
    backoff=Backoff.constant(0.1),
    retry_on=(ConnectionError, TimeoutError),  # any other error fails the job at once,
    give_up_on=ConnectionRefusedError,  # and so does this one
)
def charge(context, order: int, decided_at: float) -> str:
    match ask_bank(order, context.attempt, decided_at):
        case HTTPStatus.TOO_MANY_REQUESTS:
            raise Retry(after_s=0.2)  # this attempt has failed; the bank said when to come back
        case HTTPStatus.ACCEPTED:
            raise Snooze(after_s=0.2)  # not decided yet: look again, which is no attempt
        case HTTPStatus.PAYMENT_REQUIRED:
            raise Reject(f"order {order} was declined")  # nothing will change that
    return f"paid on attempt {context.attempt}"


if __name__ == "__main__":
    worker = app.worker()
    thread = Thread(target=worker.run)
    thread.start()
    paid = app.send_function(charge, 7100, time.time() + 2)
    declined = app.send_function(charge, 7101, time.time() + 2)
    print(paid.result(timeout_s=30), declined.wait(timeout_s=30).error, sep="\n")
    worker.stop()
    thread.join()
