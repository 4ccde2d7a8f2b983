"""How quick is the queue on SQLite, beside Huey and django-tasks-db? `make bench`, or
`python benchmarks/queue.py [--repetitions N] [--quick] [--json FILE]`.

Four figures for each library, in one run, the libraries taking turns in each repetition:

- enqueue: jobs a second that one process sends one by one, each in its own transaction;
- drain: those jobs, which wait before the worker starts, on the library's own worker with two processes;
  from the first run to the last, so that the start does not count;
- idle latency: from just before a send to an idle worker until the function runs;
- idle load: the processor time that an idle worker uses meanwhile, which is the price of quick polling.

The job writes down when it ran and returns None (`apps/stamps.py`), which is all that is measured of a
run: no library's own bookkeeping. Every job must have run exactly once, and the library must say that
none is left, or there is no figure. Peers poll: the idle rows are measured with a poll every
millisecond, in which the drain is measured too, and with what each does by default. Shown are the
medians of the repetitions.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a file: without its folder, where it would be taken for the standard library's `queue`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import queue_report as report
from benchmarks.apps import stamps
from benchmarks.family import cpu_s
from benchmarks.libraries import LIBRARIES
from benchmarks.processes import BenchmarkError, Process, Site
from benchmarks.queue_report import Figures, Idle
from benchmarks.report import in_turn, say

PAUSE_S, LONG_PAUSE_S = 0.08, 1.2
"""The longest pause before a sample, at random: longer than a peer's time between two polls, quick and by default."""
FEWER = 10
"""A tenth of the samples where a peer polls as by default: they take a second each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    options = _options(argv)
    header = report.header(LIBRARIES, vars(options))
    print(*header.lines(), sep="\n", flush=True)
    try:
        figures = measure_all(options)
    except BenchmarkError as error:
        print(f"benchmarks.queue: {error}", file=sys.stderr)
        return 1
    print(*report.table(LIBRARIES, figures), sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(header, LIBRARIES, figures), indent=2) + "\n")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The queue on SQLite, measured.")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="how often each is measured (5)")
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N", help="sent and drained in each (10000)")
    parser.add_argument(
        "--samples",
        type=int,
        default=100,
        metavar="N",
        help="of the latency in each (100; a tenth where peers poll as by default)",
    )
    parser.add_argument(
        "--synchronous",
        choices=("NORMAL", "FULL", "DEFAULT"),
        default="DEFAULT",
        help="when SQLite waits for the disk, the same for all, or as each library does by default",
    )
    parser.add_argument("--idle-s", type=float, default=2.0, metavar="S", help="an idle worker is watched so long (2)")
    parser.add_argument("--quick", action="store_true", help="a smoke run of some seconds: no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    options = parser.parse_args(argv)
    if options.quick:
        options.repetitions, options.jobs, options.samples, options.idle_s = 1, 300, 10, 0.3
    return options


def measure_all(options: argparse.Namespace) -> list[Figures]:
    """One Figures for each library and repetition. Raises BenchmarkError."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        for repetition in range(options.repetitions):
            for library in in_turn(LIBRARIES, repetition):
                say(f"repetition {repetition + 1} of {options.repetitions}: {library.name}")
                site = Site(library, Path(folder) / f"{library.module}-{repetition}", options.synchronous)
                figures.append(measure(site, options))
    say("")
    return figures


def measure(site: Site, options: argparse.Namespace) -> Figures:
    """All figures of one library. Raises BenchmarkError."""
    enqueued_per_s = site.send("enqueue", options.jobs)
    with site.working(is_fast=True) as workers:
        site.await_all_ran(workers)
        drained_per_s = _rate(stamps.read(site.folder))
        fast = _idle(site, workers, options.idle_s, options.samples, PAUSE_S)
    default = _default_idle(site, options) if site.library.fast_polling else fast
    site.check_all_ran_once()
    return Figures(site.library.name, enqueued_per_s, drained_per_s, fast, default)


def _default_idle(site: Site, options: argparse.Namespace) -> Idle:
    """A worker that polls as it does by default, once it has started."""
    with site.working(is_fast=False) as workers:
        site.send("latency", 1, PAUSE_S)
        return _idle(site, workers, options.idle_s, max(1, options.samples // FEWER), LONG_PAUSE_S)


def _idle(site: Site, workers: Sequence[Process], idle_s: float, samples: int, pause_s: float) -> Idle:
    """What idleness costs, and how soon it ends."""
    time.sleep(idle_s / 2)
    pids = [worker.pid for worker in workers]
    used_s, started_s = cpu_s(pids), time.monotonic()
    time.sleep(idle_s)
    load = (cpu_s(pids) - used_s) / (time.monotonic() - started_s)
    return Idle(load * 100, site.send("latency", samples, pause_s))


def _rate(stamps_ns: Sequence[int]) -> float:
    """Runs a second, from the first to the last."""
    return (len(stamps_ns) - 1) * 1e9 / (max(stamps_ns) - min(stamps_ns))


if __name__ == "__main__":
    sys.exit(main())
