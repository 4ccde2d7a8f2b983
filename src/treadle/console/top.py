"""`worker top`: how the queues move, live in a terminal; plain text and three control sequences."""

import contextlib
import select
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator

from treadle.app import Treadle
from treadle.clock import US_PER_S, Clock, SystemClock, sleep_s
from treadle.console import show
from treadle.job import Job
from treadle.states import FINISHED, State
from treadle.store.contract import Query

MOST_JOBS = 20
CLEAR, HIDE_CURSOR, SHOW_CURSOR = "\x1b[H\x1b[J", "\x1b[?25l", "\x1b[?25h"


def run_top(app: Treadle, write: Callable[[str], object], *, once: bool, every_s: float) -> None:
    """Draw until q or Ctrl-C; one picture where `once`, or where nobody sits at a terminal."""
    pictures = Pictures(app)
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        write("\n".join(pictures.next()))
        return
    with contextlib.suppress(KeyboardInterrupt), _keys() as is_quit_pressed:
        while True:
            _draw(pictures.next())
            if is_quit_pressed(every_s):
                return


class Pictures:
    """Each picture knows the one before, and so how quickly things move."""

    def __init__(self, app: Treadle, clock: Clock | None = None) -> None:
        self._app = app
        self._clock = clock or SystemClock()
        self._before: tuple[float, show.Counts] | None = None

    def next(self) -> list[str]:
        now_s, counts = self._clock.monotonic_s(), self._app.store.counts()
        before, self._before = self._before, (now_s, counts)
        running = self._app.store.find(Query(state=State.RUNNING, limit=MOST_JOBS, newest_first=False))
        return [
            *show.worker_lines(show.workers_of(self._app)),
            "",
            *_queues(counts, self._app.paused(), before, now_s),
            "",
            *(_running(job, self._clock.now_us()) for job in running),
        ]


def _queues(
    counts: show.Counts, paused: Iterable[str], before: tuple[float, show.Counts] | None, now_s: float
) -> Iterator[str]:
    yield f"{'queue':<20} {'waiting':>9} {'running':>9} {'succeeded':>10} {'failed':>8} {'sent/s':>8} {'ended/s':>8}"
    paused = set(paused)
    for queue, states in show.by_queue(counts, paused).items():
        waiting = sum(states.get(state, 0) for state in (State.BLOCKED, State.SCHEDULED, State.READY))
        sent, ended = _rates(queue, counts, before, now_s)
        yield (
            f"{queue:<20.20} {waiting:>9} {states.get(State.RUNNING, 0):>9} {states.get(State.SUCCEEDED, 0):>10} "
            f"{states.get(State.FAILED, 0):>8} {sent:>8} {ended:>8}{'  paused' if queue in paused else ''}"
        )


def _rates(queue: str, counts: show.Counts, before: tuple[float, show.Counts] | None, now_s: float) -> tuple[str, str]:
    """How many jobs a second were sent and ended since the last picture; unknown in the first one."""
    if before is None or now_s <= before[0]:
        return "-", "-"
    elapsed_s = now_s - before[0]
    # Pruning makes a count smaller, which is no negative speed.
    changes = [max(0, _total(queue, counts, some) - _total(queue, before[1], some)) for some in (State, FINISHED)]
    sent, ended = (f"{change / elapsed_s:.0f}" for change in changes)
    return sent, ended


def _total(queue: str, counts: show.Counts, states: "type[State] | frozenset[State]") -> int:
    return sum(counts.get((queue, state), 0) for state in states)


def _running(job: Job, now_us: int) -> str:
    run_s = (now_us - (job.started_at_us or now_us)) / US_PER_S
    fraction = job.progress.fraction
    shown = "" if fraction is None else f"{fraction:>5.0%}"
    return f"{job.id}  {show.age(max(0.0, run_s)):>6}  {shown:<5}  {job.task}  {job.progress.message}".rstrip()


def _draw(lines: list[str]) -> None:
    width, height = shutil.get_terminal_size()
    shown = [_printable(line)[:width] for line in lines[: height - 2]]
    sys.stdout.write(CLEAR + "\n".join([*shown, "", "q ends"]))
    sys.stdout.flush()


def _printable(line: str) -> str:
    """A job's message may hold control sequences, which must not reach the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Whether q is pressed within some seconds; the terminal is as before at the end."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    sys.stdout.write(HIDE_CURSOR)

    def is_quit_pressed(within_s: float) -> bool:
        ready, _, _ = select.select([fd], [], [], within_s)
        if not ready:
            return False
        pressed = sys.stdin.read(1)
        # Other keys must not make it draw in a hurry.
        sleep_s(0.05)
        return pressed in ("q", "Q", "")

    try:
        yield is_quit_pressed
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stdout.write(SHOW_CURSOR + "\n")
        sys.stdout.flush()
