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
