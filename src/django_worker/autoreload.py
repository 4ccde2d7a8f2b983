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
from treadle.clock import sleep_s
from treadle.console.verbs import ready_worker
from treadle.worker.process import run_process

LOOK_EVERY_S = 1.0
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
    # Before anything runs: what changes from now on is newer than what runs.
    files, changed = Files(), threading.Event()

    def watch() -> None:
        while not files.have_changed():
            sleep_s(LOOK_EVERY_S)
        changed.set()
        worker.stop(at_once=True)

    threading.Thread(target=watch, daemon=True, name="autoreload").start()
    run_process(worker)
    return CHANGED if changed.is_set() else 0


class Files:
    """Those of all modules, and when each was changed."""

    def __init__(self) -> None:
        _import_what_children_will()
        self._reloader = autoreload.StatReloader()
        self._seen = dict(self._reloader.snapshot_files())

    def have_changed(self) -> bool:
        """Whether one is newer than when it was first seen; those of modules that came later are seen from now on."""
        now = dict(self._reloader.snapshot_files())
        self._seen = {**now, **self._seen}
        return any(moment > self._seen[path] for path, moment in now.items())


def _import_what_children_will() -> None:
    """Only files of modules that are imported here are looked at; a file with an error in it is, too."""
    for import_some in (lambda: autodiscover_modules("tasks", "schedules"), lambda: get_resolver().urlconf_module):
        try:
            autoreload.check_errors(import_some)()
        except Exception:
            traceback.print_exc()
