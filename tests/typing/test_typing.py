"""What a type checker tells of a send: one run of mypy over the files beside this one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tests.helpers import ROOT

HERE = Path(__file__).parent
CASES = sorted(str(path) for path in HERE.glob("*.py") if path.name != Path(__file__).name)


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed: make check installs it")
def test_a_wrong_argument_to_a_send_is_a_type_error():
    """Each line that is marked as wrong is found so, no other is, and a result has the type that the function returns."""
    # In strict mode a mark that nothing needs is an error itself.
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *CASES]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
