"""`worker top`."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from tests import apps
from tests.helpers import PATIENCE_S, ROOT, Gate, eventually, jobs_app, working

from treadle import State, Treadle
from treadle.console.top import SHOW_CURSOR, Pictures, run_top
from treadle.testing import ManualClock


@pytest.fixture
def app(tmp_path: Path) -> Treadle:
    return jobs_app(tmp_path)


def test_one_picture_without_a_terminal(app: Treadle) -> None:
    """Workers, queues, and what runs; no control sequences."""
    app.send_function(apps.string_length, "abc")
    written: list[str] = []
    run_top(app, written.append, once=True, every_s=1)
    lines = written[0].splitlines()
    assert lines[0] == "no worker is known"
    assert lines[3].split() == ["default", "1", "0", "0", "0", "-", "-"]
    assert "\x1b" not in written[0]


def test_what_runs_is_shown_with_its_progress(app: Treadle, gate: Gate) -> None:
    """How long, how far, which task, and what it says."""
    with working(app):
        job = app.send_function(apps.progress_and_wait, str(gate.path))
        eventually(lambda: job.refresh().progress.message)
        shown = Pictures(app).next()[-1].split()
        gate.open()
        job.wait(PATIENCE_S)
    assert (shown[0], shown[3:]) == (job.id, ["50%", job.task, "half"])


def test_a_paused_queue_is_marked(app: Treadle) -> None:
    """Also where it has no jobs."""
    app.send_function(apps.string_length, "abc")
    app.pause("mail")
    default, mail = Pictures(app).next()[3:5]
    assert (default.endswith("paused"), mail.split()[0], mail.endswith("  paused")) == (False, "mail", True)


def test_rates_are_those_since_the_picture_before(app: Treadle) -> None:
    """Jobs a second that were sent, and that ended."""
    clock = ManualClock()
    pictures = Pictures(app, clock)
    app.send_function(apps.string_length, "a")
    pictures.next()
    clock.advance(2)
    app.send_many([apps.string_length.bind("a")] * 10)[0].cancel()
    app.run_pending()
    assert pictures.next()[3].split()[-2:] == ["5", "6"]
    assert app.jobs(state=State.READY) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a pseudo terminal that is read to its end")
@pytest.mark.parametrize("quits", ["q", "Ctrl-C"])
def test_it_is_live_in_a_terminal(app: Treadle, quits: str) -> None:
    """Until q or Ctrl-C, and leaves the terminal as it was."""
    command = [sys.executable, "-m", "treadle.cli", "worker", "top", "tests.apps:app"]
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TREADLE_TEST_URL": str(app.settings.database_url)},
        stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
        # Ctrl-C is a signal only where the terminal is that of the session.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    with process:
        try:
            shown = _read_until(terminal, b"q ends")
            os.write(terminal, b"q" if quits == "q" else b"\x03")
            shown += _read_until(terminal, SHOW_CURSOR.encode())
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    os.close(terminal)
    os.close(its_end)
    assert b"no worker is known" in shown
    assert b"Traceback" not in shown


def _read_until(terminal: int, word: bytes) -> bytes:
    shown = b""
    while word not in shown:
        assert select.select([terminal], [], [], PATIENCE_S)[0], shown
        shown += os.read(terminal, 4096)
    return shown
