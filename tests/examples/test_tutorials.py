"""The sites of the tutorials and of the guide for Flask, as their readers have made them, and examples with tests of their own."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers import ROOT

PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]


@pytest.mark.parametrize(
    ("example", "command"),
    [
        ("tutorial_flask", PYTEST),
        ("flask_factory", PYTEST),
        ("tutorial_django", ["manage.py", "test"]),
        ("csv_importer", ["manage.py", "test"]),
    ],
)
def test_the_site_of_a_tutorial_passes_its_own_tests(example, command, tmp_path):
    """Its tests are those that the tutorial, or the guide, shows, and they pass."""
    shutil.copytree(ROOT / "examples" / example, tmp_path / example)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path / example, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
