"""The command `treadle`; the integrations offer the same verbs as `flask worker` and `manage.py worker`."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence

from treadle.app import Treadle
from treadle.clock import US_PER_S, SystemClock
from treadle.errors import AppNotFound, TreadleError
from treadle.locate import load_target
from treadle.report.log import log_to_terminal
from treadle.states import State
from treadle.worker.process import run_process


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. An error of ours is one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        # The demo is an application of its own, above this package.
        return subprocess.call([sys.executable, "-m", "treadle_demo", *arguments[1:]])
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], None] = options.command
        command(options)
    except TreadleError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="treadle", description="Run functions of your application in parallel.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    worker = commands.add_parser("worker", help="run a worker process").add_subparsers(required=True, metavar="run")
    run = worker.add_parser("run", help="take jobs until SIGTERM or Ctrl-C")
    run.add_argument("app", help="the application, as module:name")
    add_worker_options(run)
    run.set_defaults(command=lambda o: run_worker(_load(o.app), o.concurrency, o.queues))

    status = commands.add_parser("status", help="workers, and how many jobs are in each state")
    status.add_argument("app", help="the application, as module:name")
    status.set_defaults(command=lambda o: print_status(_load(o.app)))

    tables = commands.add_parser("migrate", help="make the tables of the store, or bring them up to date")
    tables.add_argument("app", help="the application, as module:name")
    tables.set_defaults(command=lambda o: migrate(_load(o.app)))

    commands.add_parser("demo", help="see it work on real input", add_help=False)
    return parser


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """The options of `worker run`, the same in every integration."""
    parser.add_argument(
        "--concurrency", type=at_least_one, metavar="N", help="child processes (default: the usable cores)"
    )
    parser.add_argument("--queues", type=split_queues, default=(), metavar="A,B", help="only these, in this order")


def at_least_one(text: str) -> int:
    """For argparse: a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def split_queues(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def run_worker(app: Treadle, concurrency: int | None, queues: tuple[str, ...]) -> None:
    """Run a worker of this application in this process until a signal."""
    log_to_terminal()
    run_process(app.worker(concurrency=concurrency, queues=queues))


def print_status(app: Treadle, write: Callable[[str], object] = print) -> None:
    """Who works, and how many jobs stand where."""
    now_us = SystemClock().now_us()
    workers = app.store.workers()
    for worker in workers:
        age_s = (now_us - worker.last_seen_at_us) / US_PER_S
        write(f"worker  {worker.id}  {worker.kind}  pid {worker.pid} on {worker.host}  seen {age_s:.0f} s ago")
    if not workers:
        write("no worker is known")
    counts = app.store.counts()
    for queue in sorted({queue for queue, _ in counts}):
        shown = "  ".join(f"{state} {counts[queue, state]}" for state in State if (queue, state) in counts)
        write(f"queue   {queue}  {shown}")


def migrate(app: Treadle) -> None:
    """Opening a store makes its tables; what is left is to say so."""
    print(f"{app.store} is up to date")


def _load(target: str) -> Treadle:
    app = load_target(target)
    if not isinstance(app, Treadle):
        raise AppNotFound(f"{target} is a {type(app).__name__}, not a Treadle application")
    return app


if __name__ == "__main__":
    sys.exit(main())
