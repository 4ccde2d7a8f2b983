"""How quick is the process pool beside its peers? `make bench-pool`, or
`python benchmarks/pool.py [--repetitions N] [--quick] [--only NAMES] [--ray] [--json FILE] [--svg FILE]`.

In one run, with as many workers each, the libraries taking turns in each repetition; each library in a
process of its own, which has imported no other:

- submit to result: one call that does nothing and its result, one after the other, on a warm pool;
- submits a second: so many calls submitted, then all results;
- map: a list of small numbers through a trivial function, with the chunks that the library chooses;
- array: what it takes longer to sum a large array in a child than here, a new array each time; and the
  same array again and again once it was shared, where there is a way to share it (here it lies in shared
  memory too, whose small pages make the sum itself slower);
- speed-up: equal parts of pure Python, against the same in one process just before and after;
- harm: one call kills its process, of 21: how many of the 20 others fail or never end, and how many of
  all have neither result nor error after 10 s;
- orphans: the owner is killed while its children compute: how many of its processes are left.

Every result is compared with what it should be, or there is no figure. A cell is empty where a library
has no such verb. Threads are shown for orientation and are no contest: they isolate nothing.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if not __package__:
    # Run as a file: without its folder, where `queue.py` would be taken for the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import pool_processes, pool_report
from benchmarks.family import end_all_on_sigterm
from benchmarks.pool_peers import PEERS, Threads, is_installed
from benchmarks.pool_report import Figures
from benchmarks.pool_trial import Options
from benchmarks.processes import BenchmarkError
from benchmarks.report import in_turn, say

RAY = "Ray"
QUICK = Options(scale=0.02, array_warm_calls=1, array_samples=1, parts=4, part_s=0.1, deadline_s=5)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    end_all_on_sigterm()
    arguments = _arguments(argv)
    libraries, skipped = _libraries(arguments)
    options = replace(QUICK if arguments.quick else Options(), workers=arguments.workers)
    header = pool_report.header(libraries, arguments.repetitions, options, skipped)
    print(*header.lines(), sep="\n", flush=True)
    try:
        figures = measure_all(libraries, arguments.repetitions, options)
    except BenchmarkError as error:
        print(f"benchmarks.pool: {error}", file=sys.stderr)
        return 1
    print(*pool_report.table(libraries, figures), "", *pool_report.goals(libraries, figures), sep="\n")
    _write(arguments, header, libraries, figures)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The process pool, measured.")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="how often each is measured (5)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="child processes of each pool (2)")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {', '.join(PEERS)}, between commas")
    parser.add_argument("--ray", action="store_true", help="measure Ray too, which is large and not installed by us")
    parser.add_argument("--quick", action="store_true", help="a smoke run of less than a minute: no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the medians there")
    arguments = parser.parse_args(argv)
    names = arguments.only.split(",") if arguments.only else []
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if arguments.quick:
        arguments.repetitions = 1
    return arguments


def _libraries(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Those that are measured, in the order of the table, and a line for each that cannot be."""
    only = arguments.only.split(",") if arguments.only else [name for name in PEERS if name != RAY]
    wanted = [name for name in PEERS if name in only or (name == RAY and arguments.ray)]
    skipped = [f"{name}: skipped, it is not installed" for name in wanted if not is_installed(name)]
    return [name for name in wanted if is_installed(name)], skipped


def measure_all(libraries: Sequence[str], repetitions: int, options: Options) -> list[Figures]:
    """One Figures for each library and repetition. Raises BenchmarkError."""
    figures = []
    for repetition in range(repetitions):
        for name in in_turn(libraries, repetition):
            say(f"repetition {repetition + 1} of {repetitions}: {name}")
            figures.append(measure(name, options))
    say("")
    return figures


def measure(name: str, options: Options) -> Figures:
    """All figures of one library. Raises BenchmarkError."""
    values = pool_processes.timings(name, options)
    if PEERS[name] is Threads:
        # Nothing can be killed but the whole, and nothing is left of it.
        return Figures(name, values | {"harmed": None, "endless": None, "left": None})
    harm = pool_processes.harm_of_a_kill(name, options)
    left = pool_processes.left_by_a_killed_owner(name, options)
    return Figures(name, values | harm | {"left": left})


def _write(
    arguments: argparse.Namespace, header: pool_report.Header, libraries: Sequence[str], figures: Sequence[Figures]
) -> None:
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(pool_report.as_json(header, libraries, figures), indent=2) + "\n")
    if arguments.svg is not None:
        arguments.svg.write_text(pool_report.chart(header, libraries, figures))


if __name__ == "__main__":
    sys.exit(main())
