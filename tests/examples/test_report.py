"""The README's task that reports."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_report_runs_and_sends_its_message(tmp_path):
    """`python report.py` prints the result and the message."""
    command = [sys.executable, str(EXAMPLES / "report.py")]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.strip() == "{'rows': 3} ['almost done']"


def test_jobs_with_keys_are_sent_once_and_run_in_turn(tmp_path):
    """Four changes of two shops are two jobs, and both orders of a customer are charged."""
    command = [sys.executable, str(EXAMPLES / "keyed_jobs.py")]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.splitlines() == [
        "2 jobs for 4 changes", "the index of shop 1 is new", "customer 7 paid 100", "customer 7 paid 200",
    ]  # fmt: skip
