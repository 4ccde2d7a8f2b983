"""Treadle in Django: a complete backend for `django.tasks`, and `send_function`.

Nothing here needs the app registry, so a module of tasks may import it at any time.
"""

from django_worker.following import accepted, progress, urls
from django_worker.sending import (
    ajob,
    ajobs,
    around,
    asend_function,
    asend_many,
    asend_map,
    forget,
    job,
    jobs,
    pause,
    paused,
    pool,
    resume,
    run_pending,
    schedule,
    send_function,
    send_many,
    send_map,
    sent,
)
from django_worker.worker_task import task

__all__ = [
    "accepted",
    "ajob",
    "ajobs",
    "around",
    "asend_function",
    "asend_many",
    "asend_map",
    "forget",
    "job",
    "jobs",
    "pause",
    "paused",
    "pool",
    "progress",
    "resume",
    "run_pending",
    "schedule",
    "send_function",
    "send_many",
    "send_map",
    "sent",
    "task",
    "urls",
]
