"""The examples without a framework: the README's task that reports, and that of the page on options."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_report_runs_and_sends_its_message(tmp_path):
    """`python report.py` prints the result and the message."""
    assert shown("report.py", tmp_path) == ["{'rows': 3} ['almost done']"]


def test_a_task_says_itself_what_becomes_of_its_job(tmp_path):
    """One order is paid on the third attempt, however often it was looked at; the other is declined."""
    assert shown("when_a_task_fails.py", tmp_path) == [
        "paid on attempt 3",
        "treadle.errors.Reject: order 7101 was declined",
    ]


def test_jobs_with_keys_are_sent_once_and_run_in_turn(tmp_path):
    """Four changes of two shops are two jobs, and both orders of a customer are charged."""
    assert shown("keyed_jobs.py", tmp_path) == [
        "2 jobs for 4 changes", "the index of shop 1 is new", "customer 7 paid 100", "customer 7 paid 200",
    ]  # fmt: skip


def shown(example, folder):
    """The lines that a program prints."""
    command = [sys.executable, str(EXAMPLES / example)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
