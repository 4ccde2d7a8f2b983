"""The task of the site of `web_load.py` in Django."""

from typing import Any

from benchmarks.apps import load_task
from django_worker import task


@task(takes_context=True)
def job(context: Any, kind: str) -> int:
    return load_task.run(context, kind)
