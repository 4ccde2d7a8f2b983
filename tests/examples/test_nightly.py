"""The schedules of the document."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_schedules_are_shown_and_sent(tmp_path):
    """`python nightly.py` prints its schedules, and what the one of each second has come to."""
    command = [sys.executable, str(EXAMPLES / "nightly.py")]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    *schedules, result = shown.stdout.splitlines()
    assert [line.partition(": ")[2] for line in schedules] == [
        "0 3 * * * Europe/Berlin>", "*/10 * * * * UTC>", "* * * * * * UTC>",
    ]  # fmt: skip
    assert result.startswith("report of user 8 for 20")
