"""A worker inside a web process, where nobody runs one of its own.

Each web process stands for election: the one that gets the lock runs a worker in a thread, and the
others try again every second, so that when it dies another takes over. It steps aside as soon as a
worker process is alive. Its jobs run in child processes all the same.
"""

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

from treadle.clock import Clock
from treadle.errors import StoreError, TreadleError
from treadle.events import DutyFailed, Event
from treadle.pools import current
from treadle.store.contract import Store, WorkerRow
from treadle.worker.alive import AliveFolder
from treadle.worker.loop import Worker
from treadle.worker.upkeep import Duty, is_dead

ELECTION = "embedded"
STAND_EVERY_S = 1.0
LONGEST_PAUSE_S = 30.0
SIGTERM_PATIENCE_S = 3.0


class EmbeddedWorker:
    """This process's standing for election, from `start` to `stop`."""

    def __init__(
        self,
        *,
        open_store: Callable[[], Store],
        open_alive: Callable[[], AliveFolder | None],
        queues: tuple[str, ...],
        clock: Clock,
        announce: Callable[[Event], None],
        make_worker: Callable[[tuple[Duty, ...]], Worker],
    ) -> None:
        self._open_store = open_store
        self._open_alive = open_alive
        self._queues = queues
        self._clock = clock
        self._announce = announce
        self._make_worker = make_worker
        self._stopped = threading.Event()
        self._worker: Worker | None = None
        self._thread = threading.Thread(target=self._stand, name="treadle-embedded", daemon=True)
        _standing.add(self)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float | None = None) -> None:
        """Interrupt what runs, with refund, and stand no more; waits for that, at most `patience_s` seconds."""
        self._stopped.set()
        worker = self._worker
        if worker is not None:
            worker.stop(at_once=True)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(patience_s)

    def _stand(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            try:
                self._try_to_serve()
                pause_s = STAND_EVERY_S
            except (TreadleError, OSError) as error:
                # The web process goes on without; the reason is said, ever more seldom.
                self._announce(DutyFailed("embedded worker", error))
                pause_s = min(max(pause_s, STAND_EVERY_S) * 2, LONGEST_PAUSE_S)

    def _try_to_serve(self) -> None:
        # Opened here, not by the request that started us: what is wrong with the store may be mended meanwhile.
        self._store, self._alive = self._open_store(), self._open_alive()
        if self._is_worker_alive():
            return
        if self._alive is None:
            self._serve()
            return
        elected = self._alive.claim(ELECTION)
        if elected is not None:
            try:
                self._serve()
            finally:
                elected.release(remove=False)

    def _serve(self) -> None:
        self._worker = self._make_worker((Duty("step aside", STAND_EVERY_S, self._step_aside),))
        if not self._stopped.is_set():
            self._worker.run()

    def _step_aside(self) -> None:
        if self._worker is not None and self._is_worker_alive():
            self._worker.stop()

    def _is_worker_alive(self) -> bool:
        """Whether a worker process serves all our queues."""
        now_us = self._clock.now_us()
        try:
            workers = self._store.workers()
        except StoreError:
            return False
        return any(self._could_take_over(w) and not is_dead(w, self._alive, now_us) for w in workers)

    def _could_take_over(self, worker: WorkerRow) -> bool:
        serves_ours = not worker.queues or bool(self._queues and set(self._queues) <= set(worker.queues))
        return worker.kind == "process" and serves_ours


_standing: "weakref.WeakSet[EmbeddedWorker]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A web process that ends gives its jobs back, so that they are no crash of anybody's."""
    for embedded in tuple(_standing):
        embedded.stop()


def stop_on_sigterm() -> None:
    """Have SIGTERM stop the embedded worker first, and then do what it did before; called as an app is made.

    Some servers end by the signal itself, at once (`flask run`) or when they have shut down (uvicorn), and
    then nothing at the end of the program is run. Does nothing outside of the main thread, which alone may
    set a handler, nor where SIGTERM is ignored or handled by no Python.
    """
    if threading.current_thread() is not threading.main_thread() or current.is_child:
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is _on_sigterm.handle or before in (None, signal.SIG_IGN):
        return
    _on_sigterm.before = before
    signal.signal(signal.SIGTERM, _on_sigterm.handle)


at_sigterm: list[Callable[[], None]] = []
"""What else is to be done first; called inside the handler, so it takes no lock and does not wait."""


class _OnSigterm:
    """What SIGTERM did before, and what it does now."""

    def __init__(self) -> None:
        self.before: Any = signal.SIG_DFL
        # Kept: each look at a bound method gives another object.
        self.handle = self._handle

    def _handle(self, number: int, frame: Any) -> None:
        for step in at_sigterm:
            step()
        for embedded in tuple(_standing):
            # With bounds: this thread may have been interrupted while it held what the worker needs.
            embedded.stop(SIGTERM_PATIENCE_S)
        if callable(self.before):
            self.before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_on_sigterm = _OnSigterm()


def _forget_after_fork() -> None:
    # Its thread did not come along, and the lock is closed by its own module.
    _standing.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
