"""What does a web process feel while its pool computes? `make bench-web`, or
`python benchmarks/web_latency.py [--repetitions N] [--quick] [--json FILE]`.

A site on gunicorn with two processes of four threads. One visitor of each process pings it every few
milliseconds on a connection that stays open; meanwhile the site is idle, or computes on every core:

- in `pool.map` of FlaskWorker's pool, and in a ProcessPoolExecutor: one request after another, each of
  which fills every core;
- in the view itself: as many requests at once as there are cores, each in a thread of the site.

Every busy phase follows an idle one, so that both meet the same minutes. Then the memory of a site with
eight processes: before, when every process has used its pool, and when its children have left again. It
is PSS: a page that several processes share counts once.
"""

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

if not __package__:
    # Run as a file: without its folder, where `queue.py` would be taken for the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import family, report, web_report
from benchmarks.family import end_all_on_sigterm
from benchmarks.processes import BenchmarkError
from benchmarks.report import in_turn, say
from benchmarks.web_client import Work, computing, ping, reach_each
from benchmarks.web_report import EXECUTOR, IDLE, OURS, VIEW, Figures, Header, Memory
from benchmarks.web_site import THREADS, Site, site
from treadle import ProcessPool

HOW: Mapping[str, str] = {OURS: "treadle", VIEW: "view", EXECUTOR: "executor"}
WEB_PROCESSES, MEMORY_PROCESSES, MEMORY_CHILDREN = 2, 8, 2
WORK_S = 0.5
"""How long a request computes: long beside its own costs, and soon over at the end of a phase."""
SETTLE_S = 0.5
SHORT_IDLE_TIMEOUT_S = 2.0
LEAVE_WITHIN_S = 15.0
"""Beyond the time after which idle children leave."""
LOOK_EVERY_S = 0.2
IDLE_TIMEOUT = "idle_timeout_s"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    end_all_on_sigterm()
    options = _options(argv)
    cores = len(os.sched_getaffinity(0))
    header = Header(
        report.machine(), options.repetitions, options.phase_s, WEB_PROCESSES, MEMORY_PROCESSES, children=cores
    )
    print(*header.lines(), sep="\n", flush=True)
    try:
        figures = list(measure_latency(options, cores))
        print(*web_report.table(figures), "", *web_report.ratios(figures), "", sep="\n", flush=True)
        memory = list(measure_memory(is_quick=options.quick))
    except BenchmarkError as error:
        print(f"benchmarks.web_latency: {error}", file=sys.stderr)
        return 1
    print(*web_report.memory_table(memory, MEMORY_PROCESSES), sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps(web_report.as_json(header, figures, memory), indent=2) + "\n")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a web process feels while its pool computes, measured.")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="how often each is measured (5)")
    parser.add_argument("--phase-s", type=float, default=4.0, metavar="S", help="how long each phase is (4)")
    parser.add_argument("--quick", action="store_true", help="a smoke run of less than a minute: no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    options = parser.parse_args(argv)
    if options.quick:
        options.repetitions, options.phase_s = 1, 1.5
    return options


# Latency


def measure_latency(options: argparse.Namespace, cores: int) -> Iterator[Figures]:
    """An idle phase and a busy one for each way to compute, in each repetition. Raises BenchmarkError."""
    with site(WEB_PROCESSES, THREADS, children=cores) as running:
        for how in HOW.values():
            reach_each(running, Work(how, WORK_S, cores))
        for repetition in range(options.repetitions):
            for condition in in_turn(list(HOW), repetition):
                say(f"repetition {repetition + 1} of {options.repetitions}: {condition}")
                time.sleep(SETTLE_S)
                yield _phase(running, IDLE, options.phase_s)
                yield _busy_phase(running, condition, options.phase_s, cores)
    say("")


def _busy_phase(running: Site, condition: str, seconds: float, cores: int) -> Figures:
    work = Work(HOW[condition], WORK_S, cores)
    # A request in a pool fills every core; one in the view has one.
    with computing(running, work, visitors=cores if condition == VIEW else 1):
        return _phase(running, condition, seconds)


def _phase(running: Site, condition: str, seconds: float) -> Figures:
    used_s, started_s = running.cpu_s(), time.monotonic()
    pings = ping(running, seconds)
    busy_cores = (running.cpu_s() - used_s) / (time.monotonic() - started_s)
    if not pings.latency_ms:
        raise running.error(f"{condition}: no ping was answered, {pings.failed} failed")
    return Figures(condition, pings.latency_ms, pings.failed, busy_cores)


# Memory


def measure_memory(*, is_quick: bool) -> Iterator[Memory]:
    """Before the pools, with them, and after their children have left, where they do. Raises BenchmarkError."""
    idle_timeout_s = _idle_timeout_s()
    shortened_s = SHORT_IDLE_TIMEOUT_S if is_quick and idle_timeout_s is not None else None
    say("memory")
    with site(MEMORY_PROCESSES, children=MEMORY_CHILDREN, idle_timeout_s=shortened_s) as running:
        reach_each(running, Work("view", WORK_S, MEMORY_CHILDREN))
        yield (before := _memory(running, "every process has served"))
        reach_each(running, Work("treadle", WORK_S, MEMORY_CHILDREN))
        yield _memory(running, "and has used its pool")
        if idle_timeout_s is not None:
            _await_leave(running, before.processes, shortened_s or idle_timeout_s)
            yield _memory(running, f"{shortened_s or idle_timeout_s:g} s idle later")
    say("")


def _idle_timeout_s() -> float | None:
    """After which idle children leave by default; None in a Treadle whose children stay."""
    parameter = inspect.signature(ProcessPool).parameters.get(IDLE_TIMEOUT)
    return parameter.default if parameter is not None else None


def _memory(running: Site, moment: str) -> Memory:
    time.sleep(SETTLE_S)
    now = running.family()
    return Memory(moment, len(now), family.pss_mb(now))


def _await_leave(running: Site, processes: int, idle_timeout_s: float) -> None:
    """Until there are no more processes than before the pools, or it takes too long: then they are counted."""
    deadline_s = time.monotonic() + idle_timeout_s + LEAVE_WITHIN_S
    while len(running.family()) > processes and time.monotonic() < deadline_s:
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
