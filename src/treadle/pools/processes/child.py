"""The main program of a child: make ready, then run one task after the other until the socket ends.

There is one thread here. A second one that watches the owner could not run while C code holds the GIL, so it is the
zygote that ends a child with its owner, and the kernel that ends it with the zygote (PR_SET_PDEATHSIG).
"""

import atexit
import contextlib
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import current_process
from typing import Any, NamedTuple, NoReturn

from treadle.errors import Unpicklable, Unreadable
from treadle.pools import current
from treadle.pools.contract import report, reporting_to
from treadle.pools.processes import mappings, pickling, surroundings
from treadle.pools.processes.arena import Segment, packed_size, write
from treadle.pools.processes.channel import HOLDS_SEGMENT, IN_SEGMENT, IN_SPARE, MAX_BODY_BYTES, Channel, Kind
from treadle.pools.processes.permits import take
from treadle.pools.processes.wire import TELLS_MEMORY, TELLS_START, WANTS_REPORTS, Found, Preparation, WireTask
from treadle.task import Task

SPIN_S = 100e-6
"""How long a child that has just worked looks for the next task before it sleeps. Round trips measured with 50, 100 and
200 µs of looking: 180, 118 and 112 µs. Shorter than its owner takes to come back, it gains nothing."""


def main(channel_fd: int, permits_fd: int, preparation_fd: int) -> NoReturn:
    """The program of a child that was started and not forked (macOS)."""
    with os.fdopen(preparation_fd, "rb") as file:
        preparation: Preparation = pickle.load(file)
    sys.path[:] = preparation.path
    sys.argv[:] = preparation.argv
    for fd in (channel_fd, permits_fd, *preparation.held_fds):
        # They came through an exec, and are to go through no other.
        os.set_inheritable(fd, False)
    surroundings.end_with_parent(preparation.zygote_pid)
    run_child(Channel(socket.socket(fileno=channel_fd)), permits_fd, preparation)


def run_child(channel: Channel, permits: int, preparation: Preparation) -> NoReturn:
    """Be a child, in a process that was made for it. Ends the process."""
    current.is_child = True
    # The owner may close its end at any time: then there is nobody left to tell.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError):
        try:
            _make_ready(preparation)
        except BaseException as error:
            channel.send(Kind.BROKEN, pickling.dump_error(error))
        else:
            channel.send(Kind.READY)
            Child(channel, permits).serve()
    _leave()


def _make_ready(preparation: Preparation) -> None:
    # What was registered in the zygote is for the zygote's end, as with multiprocessing's forks.
    atexit._clear()
    surroundings.ignore_stopping_signals()
    surroundings.hold(preparation.held_fds)
    surroundings.stand_back(preparation.nice)
    current_process().authkey = preparation.authkey
    if preparation.main is not None:
        sys.modules["__main__"] = pickling.LateMain(preparation.main)
    for name in () if preparation.can_fork else preparation.preload:
        surroundings.preload(name)
    # A module may have seeded what it was imported with: here, or before the fork.
    surroundings.reseed()
    first_call = pickling.load(preparation.initializer)
    if first_call is not None:
        initializer, initargs = first_call
        initializer(*initargs)


def _leave() -> NoReturn:
    """End as a program ends: with the exit functions of what ran here, and nothing of the process it was forked from."""
    try:
        if "multiprocessing.util" in sys.modules:
            sys.modules["multiprocessing.util"]._exit_function()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


class Answer(NamedTuple):
    """What a task gave, ready to travel."""

    kind: Kind
    body: bytes
    flags: int = 0
    segment: Segment | None = None
    """Where the value lies, if it is large and has no spare to lie in; the body says where in it."""


class Child:
    """One child at work."""

    def __init__(self, channel: Channel, permits: int) -> None:
        self._channel = channel
        self._permits = permits
        self._functions: dict[int, Any] = {}
        self._ended = 0
        """How many tasks have ended."""
        self._sending = threading.Lock()
        self._pid = os.getpid()
        self._has_forked = False
        os.register_at_fork(before=self._note_fork)

    def serve(self) -> NoReturn:
        """Do what frames say. Raises EOFError when the socket ends."""
        spin_s = 0.0
        while True:
            kind, _, _, body = self._channel.receive(spin_s)
            if kind == Kind.BATCH:
                self._run_batch(body)
            else:
                self._obey(kind, body)
            spin_s = SPIN_S

    def _obey(self, kind: int, body: bytes) -> None:
        if kind == Kind.FENCE:
            self._channel.send(Kind.FENCED)
            return
        number, is_shared = pickling.load(body)
        if kind == Kind.SEGMENT:
            mappings.learn(number, self._channel.fds.popleft(), is_shared=is_shared)
        elif kind == Kind.SPARE:
            mappings.lend(number)
        else:
            mappings.forget(number)

    def _run_batch(self, body: bytes) -> None:
        functions, tasks = pickling.load(body)
        self._functions.update(functions)
        for task in map(WireTask._make, tasks):
            if take(self._permits):
                self._run(task)

    def _run(self, task: WireTask) -> None:
        lent = mappings.Lent(task.segment) if task.segment else None
        self._has_forked = False
        if task.flags & TELLS_START:
            self._channel.send(Kind.STARTED, _memory() if task.flags & TELLS_MEMORY else b"")
        started_s = time.perf_counter()
        answer = self._run_aside(task, lent) if task.flags & WANTS_REPORTS or task.cores > 1 else self._try(task, lent)
        seconds = time.perf_counter() - started_s
        _flush_output()
        holds = lent is not None and (lent.is_held or self._has_forked)
        self._tell(answer, seconds, HOLDS_SEGMENT if holds else 0)

    def _run_aside(self, task: WireTask, lent: mappings.Lent | None) -> Answer:
        """The same, with all that a task may ask for."""
        reporter = partial(self._report, self._ended) if task.flags & WANTS_REPORTS else None
        with reporting_to(reporter), surroundings.blas_threads(task.cores):
            return self._try(task, lent)

    def _try(self, task: WireTask, lent: mappings.Lent | None) -> Answer:
        """Run the task. Whatever it does, there is an answer, and nothing of its values is referred to from here."""
        function = None
        try:
            function, args, kwargs = self._unpack(task, lent)
            if task.flags & WANTS_REPORTS and isinstance(function, Task):
                value = function.run(report, *args, **kwargs)
            else:
                value = function(*args, **kwargs)
            self._end_if_forked()
            return _answer(Kind.RESULT, value, function)
        except BaseException as error:
            self._end_if_forked()
            # SystemExit and KeyboardInterrupt too: they end the call and not the child, as in concurrent.futures.
            return _answer(Kind.ERROR, error, function)

    def _end_if_forked(self) -> None:
        """End this process if it is not the child: the task has forked, and came back in both.

        Before there is an answer: that may be written to the spare, which belongs to the owner once the child has told it.
        """
        if os.getpid() != self._pid:
            os._exit(0)

    def _unpack(self, task: WireTask, lent: mappings.Lent | None) -> tuple[Any, Any, Any]:
        try:
            function, args, kwargs = lent.load(task.parts) if lent is not None else pickling.load(task.body)
            return self._find(task.function) if task.function else function, args, kwargs
        except BaseException as error:
            unreadable = Unreadable(f"the call cannot be unpickled in the child: {error!r}")
            unreadable.has_run = False
            raise unreadable from error

    def _find(self, number: int) -> Callable[..., Any]:
        function = self._functions[number]
        if type(function) is bytes:
            function = self._functions[number] = pickling.load(function)
        return function  # type: ignore[no-any-return]

    def _tell(self, answer: Answer, seconds: float, flags: int) -> None:
        segment = answer.segment
        fds = () if segment is None else (segment.fd,)
        with self._sending:
            self._ended += 1
            self._channel.send(answer.kind, answer.body, flags=flags | answer.flags, seconds=seconds, fds=fds)
        if segment is not None:
            segment.close()

    def _report(self, ended: int, value: Any) -> None:
        """A value that a task reports, the `ended`th from the first; lost once that task has ended."""
        body = pickling.dump(value, "a reported value")
        # The task may report from threads and forks of its own, which may live longer than it.
        with self._sending:
            if ended == self._ended and os.getpid() == self._pid:
                self._channel.send(Kind.REPORT, body)

    def _note_fork(self) -> None:
        self._has_forked = True


def _answer(kind: Kind, value: Any, function: Any) -> Answer:
    parcel = _pack_result(value, function) if kind is Kind.RESULT else pickling.Parcel(pickling.dump_error(value))
    if not parcel.buffers and len(parcel.body) <= MAX_BODY_BYTES:
        return Answer(kind, parcel.body)
    spare = mappings.take_spare(packed_size(parcel.pieces))
    if spare is not None:
        return Answer(kind, pickle.dumps(write(spare, parcel.pieces)), IN_SPARE)
    segment = Segment.new(packed_size(parcel.pieces))
    return Answer(kind, pickle.dumps(segment.write(parcel.pieces)), IN_SEGMENT, segment)


def _pack_result(value: Any, function: Any) -> pickling.Parcel:
    what = f"the result of {pickling.name_of(function)}"
    try:
        return pickling.pack_value(value, what)
    except Unpicklable as error:
        if not isinstance(value, Found):
            raise
        return pickling.pack_value(value.up_to_what_cannot_travel(error), what)


def _memory() -> bytes:
    return pickle.dumps(surroundings.own_memory_mb("self"))


def _flush_output() -> None:
    """What a call printed is seen when it ends, and not when the buffer is full."""
    try:
        sys.stdout.flush()
    except (ValueError, OSError, AttributeError):
        # The call may have closed the stream.
        return
