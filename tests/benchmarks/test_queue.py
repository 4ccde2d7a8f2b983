"""The benchmark of the queue: no figure without its jobs, and nothing fails for what is not installed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import queue, queue_report
from benchmarks.libraries import HUEY, LIBRARIES, TREADLE
from benchmarks.processes import BenchmarkError, Site
from benchmarks.queue_report import Figures, Idle
from benchmarks.servers import Servers, Service
from tests.end_to_end.server import needs_proc

ROOT = Path(__file__).resolve().parents[2]


@needs_proc
def test_it_measures_treadle(tmp_path):
    """A smoke run gives every figure of Treadle on SQLite, once all of its jobs have run."""
    found = tmp_path / "found.json"
    command = ["benchmarks/queue.py", "--quick", "--only", "treadle + sqlite", "--json", str(found)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    medians = json.loads(found.read_text())["medians"]
    assert all(medians[row.title][TREADLE.name] is not None for row in queue_report.FIGURES)


def test_a_job_that_did_not_run_leaves_no_figure(tmp_path):
    """What was sent and never ran is an error that names both counts."""
    site = Site(TREADLE, tmp_path / "site", "DEFAULT", {})
    site.send("enqueue", 3)
    with pytest.raises(BenchmarkError, match=r"Treadle \+ SQLite: sent 4, ran 0, unfinished 4"):
        site.check_all_ran_once()


def test_what_is_not_installed_is_left_out(tmp_path):
    """A library that is missing is named with the reason, and the run goes on."""
    run = queue.Run(queue._options(["--only", "nobody"]))
    run.libraries = [replace(HUEY, distributions=("not-there",))]
    with Servers() as servers:
        run.measure_all(tmp_path, servers)
    assert run.reasons() == ["left out: Huey + SQLite: not installed: not-there (pip install 'treadle[bench]')"]
    assert not run.failed


def test_ours_are_compared_with_the_best_peer():
    """Below the libraries stands how many times better each of ours is than the best of the others."""
    idle = Idle(0.0, [1.0])
    figures = [
        Figures(TREADLE.name, 300, 4000, 100, idle, idle),
        Figures(HUEY.name, 100, None, 200, Idle(5.0, [4.0]), None),
    ]
    lines = queue_report.table([TREADLE, HUEY], figures)
    ratios = next(line for line in lines if "best peer" in line).split()
    assert ratios[-9:] == ["3.0x", "-", "0.5x", "4.0x", "4.0x", "-", "-", "-", "-"]


def test_every_library_has_a_name_of_its_own():
    """A library is told from the others by its package, its kind of worker and its service."""
    names = [library.name for library in LIBRARIES]
    assert len(set(names)) == len(names)
    assert {library.service for library in LIBRARIES} == set(Service)
