"""The command `treadle`; the integrations offer the verbs of `treadle worker` as `flask worker` and `manage.py worker`."""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from treadle.app import Treadle
from treadle.console.verbs import BY_NAME, Verb, add_verbs
from treadle.errors import AppNotFound, TreadleError
from treadle.locate import load_target


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. An error of ours is one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        # The demo is an application of its own, above this package.
        return subprocess.call([sys.executable, "-m", "treadle_demo", *arguments[1:]])
    options = _parser().parse_args(arguments)
    verb: Verb = options.verb
    try:
        return verb.run(_load(options.app), options, print)
    except TreadleError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="treadle", description="Run functions of your application in parallel.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    worker = commands.add_parser("worker", help="run a worker process, and look after the jobs")
    add_verbs(worker.add_subparsers(required=True, metavar="VERB"), _add_app)
    for name in ("status", "migrate"):
        verb = BY_NAME[name]
        short = commands.add_parser(name, help=f"short for `worker {name}`")
        _add_app(short)
        verb.add_options(short)
        short.set_defaults(verb=verb)
    commands.add_parser("demo", help="see it work on real input", add_help=False)
    return parser


def _add_app(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", help="the application, as module:name")


def _load(target: str) -> Treadle:
    app = load_target(target)
    if not isinstance(app, Treadle):
        raise AppNotFound(f"{target} is a {type(app).__name__}, not a Treadle application")
    return app


if __name__ == "__main__":
    sys.exit(main())
