"""What happens to jobs, as Blinker's signals: `job_ended.connect(tell_the_user, app)`.

The sender is the Flask application, whose context is pushed where it is not current. A receiver takes `job`, a
JobHandle, and what is said below, as keywords; since there may be more one day it should end in `**extra`. It runs in
the thread in which the fact is announced, so it must be quick; it may be a coroutine function, with `flask[async]`.
What it raises is logged and changes nothing. Nothing is made or sent where nobody listens.

Which process a signal is sent in is said at each: a receiver must be connected there, as it is where the application's
own module or factory connects it. The other facts of a worker have no signals: `treadle.events` has them all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec
from blinker import NamedSignal, Namespace
from flask import Flask, current_app, has_app_context

from treadle.events import Event, JobEnded, JobEnqueued, JobRetried, JobStarted
from treadle.handle import JobHandle
from treadle.job import Job

_namespace = Namespace()

job_sent = _namespace.signal("job-sent")
"""A job was handed to the store, in the process that sends it; inside of a caller's transaction it may still be rolled
back. A part of a `send_map` is a job, too. A worker sends what is scheduled."""

job_retried = _namespace.signal("job-retried")
"""A job that had failed or was cancelled was sent once more by `retry`, in the process that did it."""

job_started = _namespace.signal("job-started")
"""A pool took a job, in the worker process; `worker_id`: by which worker."""

job_ended = _namespace.signal("job-ended")
"""A run has ended, and the store has accepted how, in the worker process. `job.state` is what became of the job, which
will run again unless it `is_finished`; `outcome` says what the run ended in, as `succeeded` or `raised`, and `worker_id`
in which worker. A job that ends without a run (cancelled before it began, or expired) sends no signal."""

_SIGNALS: dict[type[Event], NamedSignal] = {
    JobEnqueued: job_sent,
    JobRetried: job_retried,
    JobStarted: job_started,
    JobEnded: job_ended,
}


def tell(app: Flask, handle_of: Callable[[Job], JobHandle[Any]], event: Event) -> None:
    """Send the signal of an event, if it has one and somebody listens for this application."""
    signal = _SIGNALS.get(type(event))
    if signal is None or not signal.has_receivers_for(app):
        return
    row, facts = _facts(event)
    with _context_of(app):
        signal.send(app, _async_wrapper=app.ensure_sync, job=handle_of(row), **facts)


def _facts(event: Any) -> tuple[Job, dict[str, Any]]:
    match event:
        case JobEnded():
            failure = event.outcome.failure if event.state.is_finished else None
            row = msgspec.structs.replace(event.job, state=event.state, failure=failure)
            return row, {"outcome": event.outcome.kind, "worker_id": event.worker_id}
        case JobStarted():
            return event.job, {"worker_id": event.worker_id}
        case _:
            return event.job, {}


def _context_of(app: Flask) -> AbstractContextManager[Any]:
    is_current = has_app_context() and current_app._get_current_object() is app  # type: ignore[attr-defined]
    return nullcontext() if is_current else app.app_context()
