"""How well is a site while many follow jobs and every core computes? `make bench-load`, or
`python benchmarks/web_load.py [--repetitions N] [--followers N] [--phase-s S] [--quick] [--json FILE]`.

Flask on gunicorn (2 processes of 8 threads), Django on uvicorn (one process), each with a worker process beside it. Two
hundred visitors follow jobs by their events, as a browser does, while 16 jobs a second are sent; and one visitor of each
web process pings it. The jobs of one phase wait, those of the next compute, and fill every core. Both report how far they
are with the time of the report, by which a follower knows how old the news is.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if not __package__:
    # Run as a file: without its folder, where `queue.py` would be taken for the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import load_report, report
from benchmarks.family import end_all_on_sigterm
from benchmarks.load_report import COMPUTE, KINDS, Figures
from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.report import in_turn, say
from benchmarks.web_client import ping
from benchmarks.web_site import Site, gunicorn, serving

SENDS_PER_S = 16.0
WARM_UP_S, MARGIN_S = 3.0, 1.5
"""The visitors are there for so much longer than they are measured: until all follow something, and at the end."""
THREADS = ("-k", "gthread", "--threads", "8", "--keep-alive", "60")
DJANGO = {"DJANGO_SETTINGS_MODULE": "benchmarks.apps.load_django"}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    end_all_on_sigterm()
    options = _options(argv)
    header = [str(report.machine()), _conditions(options), ""]
    print(*header, sep="\n", flush=True)
    try:
        figures = [phase for serve in (flask_site, django_site) for phase in measure(serve, options)]
    except BenchmarkError as error:
        print(f"benchmarks.web_load: {error}", file=sys.stderr)
        return 1
    print(*load_report.tables(figures), sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps(load_report.as_json(header, figures), indent=2) + "\n")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A site with many followers while every core computes, measured.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="how often each is measured (3)")
    parser.add_argument("--followers", type=int, default=200, metavar="N", help="who follow jobs (200)")
    parser.add_argument("--phase-s", type=float, default=10.0, metavar="S", help="how long each phase is (10)")
    parser.add_argument("--quick", action="store_true", help="a smoke run of less than a minute: no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    options = parser.parse_args(argv)
    if options.quick:
        options.repetitions, options.phase_s, options.followers = 1, 2.0, 40
    return options


def _conditions(options: argparse.Namespace) -> str:
    return (
        f"{options.followers} followers, {SENDS_PER_S:g} jobs a second; {options.repetitions} repetitions of phases of "
        f"{options.phase_s:g} s in turn; medians, of failures and memory the worst"
    )


@contextmanager
def flask_site() -> Iterator[Site]:
    """Flask under WSGI."""
    with serving(gunicorn("benchmarks.apps.load_flask:app", 2, THREADS), processes=2) as site:
        site.name = "Flask, gunicorn"
        site.start_beside(["-m", "flask", "--app", "benchmarks.apps.load_flask", "worker", "run"])
        yield site


@contextmanager
def django_site() -> Iterator[Site]:
    """Django under ASGI."""
    command = ["-m", "uvicorn", "--port", "PORT", "--log-level", "warning", "django.core.asgi:get_asgi_application"]
    with serving([*command, "--factory"], processes=1, settings=DJANGO) as site:
        site.name = "Django, uvicorn"
        site.run(["-m", "django", "migrate", "--verbosity", "0"])
        site.start_beside(["-m", "django", "worker", "run"])
        yield site


def measure(serve: Any, options: argparse.Namespace) -> Iterator[Figures]:
    """A phase of each kind in each repetition. Raises BenchmarkError."""
    with serve() as site:
        for repetition in range(options.repetitions):
            for kind in in_turn(KINDS, repetition):
                say(f"{site.name}, repetition {repetition + 1} of {options.repetitions}: jobs {kind}")
                yield phase(site, kind, options.followers, options.phase_s)
    say("")


def phase(site: Site, kind: str, followers: int, seconds: float) -> Figures:
    """Ping the site while visitors follow jobs of a kind. Raises BenchmarkError where nothing is answered."""
    with visitors(site, kind, followers, WARM_UP_S + seconds + MARGIN_S) as process:
        wait_for(process, WARM_UP_S, site)
        before_mb, used_s = site.web_pss_mb(), site.cpu_s()
        pings = ping(site, seconds)
        busy_cores = (site.cpu_s() - used_s) / seconds
        grown_mb = site.web_pss_mb() - before_mb
        out, _ = process.communicate(timeout=60)
    if process.returncode:
        raise site.error(f"the visitors ended with {process.returncode}")
    met = json.loads(out)
    if not pings.latency_ms or not met["counts"].get("followed to the end"):
        raise site.error(f"{kind}: nobody was answered: {met}")
    return Figures(site.name, kind, pings.latency_ms, pings.failed, busy_cores, before_mb, grown_mb, met)


@contextmanager
def visitors(site: Site, kind: str, followers: int, seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    """They are there inside."""
    verb = "compute" if kind == COMPUTE else "wait"
    arguments = map(str, (site.port, verb, followers, SENDS_PER_S, seconds))
    command = [sys.executable, "-m", "benchmarks.web_load_client", *arguments]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: "subprocess.Popen[bytes]", seconds: float, site: Site) -> None:
    """For so long, in which the process must not end. Raises BenchmarkError."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise site.error(f"the visitors ended with {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())
