"""`manage.py worker run --autoreload`: for development, a worker that is replaced when a file of the site changes.

A process outside starts the worker anew as long as it ends because of a change; inside, a thread looks once a second
at the files of all modules, as `runserver` does. Runs that a change cuts off are not counted, and begin anew.
"""

import argparse
import os
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.urls import get_resolver
from django.utils import autoreload
from django.utils.module_loading import autodiscover_modules

from treadle.app import Treadle
from treadle.console.verbs import ready_worker
from treadle.worker.process import run_process

CHANGED = 3
"""The exit status of a worker that a change has ended, as `runserver` has it."""


def run_worker(app: Treadle, options: argparse.Namespace) -> int:
    """Run a worker until a signal, each time anew after a change; returns the exit status."""
    if os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true":
        return _run_until_change(app, options)
    return _replace_until_end()


def _replace_until_end() -> int:
    status = CHANGED
    while status == CHANGED:
        environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
        with subprocess.Popen(autoreload.get_child_arguments(), env=environment) as worker, _leaving_signals_to(worker):
            status = worker.wait()
    return status


@contextmanager
def _leaving_signals_to(worker: "subprocess.Popen[bytes]") -> Iterator[None]:
    """SIGTERM is passed on; a terminal gives Ctrl-C to both, and the worker knows what to do."""
    handlers: dict[int, Callable[..., Any]] = {
        signal.SIGTERM: lambda *received: worker.terminate(),
        signal.SIGINT: lambda *received: None,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_until_change(app: Treadle, options: argparse.Namespace) -> int:
    worker = ready_worker(app, options)
    if worker is None:
        return 0
    changed = threading.Event()

    def end() -> None:
        changed.set()
        worker.stop(at_once=True)

    threading.Thread(target=_call_at_change, args=(end,), daemon=True, name="autoreload").start()
    run_process(worker)
    return CHANGED if changed.is_set() else 0


def _call_at_change(end: Callable[[], None]) -> None:
    _import_what_children_will()
    reloader = _Reloader(end)
    for _ in reloader.tick():
        if reloader.has_seen_change:
            return


class _Reloader(autoreload.StatReloader):
    """Tells of the first change, where Django's own would end the process in a thread that is not the main one."""

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__()
        self._end = end
        self.has_seen_change = False

    def notify_file_changed(self, path: Any) -> None:
        if not self.has_seen_change:
            self.has_seen_change = True
            self._end()


def _import_what_children_will() -> None:
    """Only files of modules that are imported here are looked at; a file with an error in it is, too."""
    for import_some in (lambda: autodiscover_modules("tasks", "schedules"), lambda: get_resolver().urlconf_module):
        try:
            autoreload.check_errors(import_some)()
        except Exception:
            traceback.print_exc()
