"""How quick is the queue, on SQLite and on PostgreSQL, beside its peers? `make bench`, or
`python benchmarks/queue.py [--repetitions N] [--only NAME]... [--quick] [--json FILE]`.

Five figures for each library, in one run, the libraries taking turns in each repetition:

- sent one by one: jobs a second from one process, each in its own transaction;
- sent in bulk: jobs a second, a thousand in each call, where the library has such a verb;
- drained: all those jobs, which wait before the worker starts, on the library's own worker with two processes;
  from the first run to the last, so that the start does not count;
- idle latency: from just before a send to an idle worker until the function runs;
- idle load: the processor time that an idle worker uses meanwhile, which is the price of quick polling.

The job writes down when it ran and returns None (`apps/stamps.py`), which is all that is measured of a
run: no library's own bookkeeping. Every job must have run exactly once, and the library must say that
none is left, or there is no figure. Some peers poll: the idle columns are measured with a poll every
millisecond, in which the drain is measured too, and with what each does by default. Shown are the
medians of the repetitions. Slower libraries get fewer jobs (`libraries.py`). Servers are started from
wheels (`servers.py`); what is not installed is left out, with the reason.
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
from benchmarks.family import cpu_s, end_all_on_sigterm
from benchmarks.libraries import LIBRARIES, Library
from benchmarks.processes import BenchmarkError, Process, Site
from benchmarks.queue_report import Figures, Idle
from benchmarks.report import in_turn, say
from benchmarks.report import machine as machine_now
from benchmarks.servers import ServerError, Servers

PAUSE_S, LONG_PAUSE_S = 0.08, 1.2
"""The longest pause before a sample, at random: longer than a peer's time between two polls, quick and by default."""
FEWER = 10
"""A tenth of the samples where a peer polls as by default: they take a second each."""
FEWEST_JOBS = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status: 1 where something was measured and found wrong."""
    options = _options(argv)
    end_all_on_sigterm()
    run, machine = Run(options), machine_now()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder, Servers() as servers:
        run.measure_all(Path(folder), servers)
        header = report.header(machine, run.libraries, vars(options), servers.versions())
    print(*header.lines(), *report.table(run.libraries, run.figures), *run.reasons(), sep="\n")
    if options.json is not None:
        found = report.as_json(header, run.libraries, run.figures)
        options.json.write_text(json.dumps({**found, "left_out": run.left_out, "failed": run.failed}, indent=2) + "\n")
    return 1 if run.failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The queue beside its peers, measured.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="how often each is measured (3)")
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N", help="sent each way and drained (10000)")
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
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="libraries whose name holds it")
    parser.add_argument("--quick", action="store_true", help="a smoke run of about a minute: no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    options = parser.parse_args(argv)
    if options.quick:
        options.repetitions, options.jobs, options.samples, options.idle_s = 1, 300, 5, 0.2
    return options


class Run:
    """All measurements of one call of this program."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.libraries = [library for library in LIBRARIES if _is_wanted(library, options.only)]
        self.figures: list[Figures] = []
        self.left_out: dict[str, str] = {}
        """Why a library was not measured."""
        self.failed: dict[str, str] = {}
        """Why a library has no figures: a job was lost, or ran twice, or nothing moved."""

    def measure_all(self, folder: Path, servers: Servers) -> None:
        """Every library in every repetition; one that is missing or fails costs only itself."""
        for repetition in range(self._options.repetitions):
            for library in in_turn(self.libraries, repetition):
                say(f"repetition {repetition + 1} of {self._options.repetitions}: {library.name}")
                self._measure(library, folder / f"{library.name}-{repetition}".replace(" ", ""), servers)
        say("")

    def _measure(self, library: Library, folder: Path, servers: Servers) -> None:
        if library.name in self.left_out or library.name in self.failed:
            return
        try:
            if reason := library.missing():
                raise ServerError(reason)
            with servers.environment(library.service) as database:
                site = Site(library, folder, self._options.synchronous, database)
                self.figures.append(measure(site, self._options))
        except ServerError as error:
            self.left_out[library.name] = str(error)
        except BenchmarkError as error:
            self.failed[library.name] = str(error)
            self.figures = [f for f in self.figures if f.library != library.name]

    def reasons(self) -> list[str]:
        """Lines for what is not in the table."""
        return [
            *(f"left out: {name}: {reason}" for name, reason in self.left_out.items()),
            *(f"no figure: {reason}" for reason in self.failed.values()),
        ]


def _is_wanted(library: Library, only: Sequence[str]) -> bool:
    return not only or any(name.lower() in library.name.lower() for name in only)


def measure(site: Site, options: argparse.Namespace) -> Figures:
    """All figures of one library. Raises BenchmarkError."""
    jobs = max(FEWEST_JOBS, round(options.jobs * site.library.share))
    enqueued_per_s = site.send("enqueue", jobs)
    bulk_per_s = site.send("bulk", jobs) if site.library.bulk else None
    with site.working(is_fast=True) as workers:
        site.await_all_ran(workers)
        drained_per_s = _rate(stamps.read(site.folder))
        fast = _idle(site, workers, options.idle_s, options.samples, PAUSE_S)
    default = _default_idle(site, options) if site.library.default_polling else fast
    site.check_all_ran_once()
    return Figures(site.library.name, enqueued_per_s, bulk_per_s, drained_per_s, fast, default)


def _default_idle(site: Site, options: argparse.Namespace) -> Idle | None:
    """A worker that polls as it does by default, once it has started; not in a smoke run, which has no time for it."""
    if options.quick:
        return None
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
