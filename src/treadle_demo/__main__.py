"""`treadle demo`, or `python -m treadle_demo`: the main job on real input, in three acts."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from treadle_demo import act_crash, act_ping, act_speed, corpus, gunicorn_config, server
from treadle_demo.corpus import Corpus
from treadle_demo.errors import DemoError
from treadle_demo.server import Server
from treadle_demo.stage import Stage
from treadle_demo.terminal import heading, say

MEGABYTES, SAMPLE_MEGABYTES, ROUNDS, PINGS = 30.0, 8.0, 3, 200
QUICK_MEGABYTES, QUICK_ROUNDS, QUICK_PINGS = 3.0, 1, 40
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 when everything held, 1 with one sentence when something did not."""
    options = parser().parse_args(argv)
    for number in SIGNALS:
        signal.signal(number, end)
    try:
        run(options)
    except DemoError as error:
        print(f"treadle demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="treadle demo", description=__doc__)
    parser.add_argument("--path", type=Path, metavar="DIR", help="analyse the Python files of this folder instead")
    parser.add_argument("--megabytes", type=positive, metavar="N", help="of input, at most (default: 30)")
    parser.add_argument("--framework", choices=tuple(server.APPLICATIONS), default="flask")
    parser.add_argument("--serve", action="store_true", help="only serve the page that shows it live, until Ctrl-C")
    parser.add_argument("--port", type=port, default=0, metavar="N", help="of 127.0.0.1 (default: a free one)")
    parser.add_argument("--quick", action="store_true", help="little input and few repetitions, for CI")
    return parser


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return number


def end(number: int, frame: Any) -> None:
    """Leave through every `finally`, so that no server stays behind; a second signal must not cut that short."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def run(options: argparse.Namespace) -> None:
    megabytes = options.megabytes or (QUICK_MEGABYTES if options.quick else MEGABYTES)
    everything = corpus.choose(options.path, megabytes)
    corpora = {"all": everything, "sample": everything.sample(min(SAMPLE_MEGABYTES, megabytes))}
    with server.running(options.framework, options.port, corpora) as running:
        serve(running) if options.serve else play(running, corpora, options)


def serve(running: Server) -> None:
    """Serve the page until the server ends, or until Ctrl-C."""
    say(f"open {running.address} in a browser; Ctrl-C ends it")
    try:
        running.process.wait()
    except KeyboardInterrupt:
        say("ended")
        return
    server.check_alive(running)


def play(running: Server, corpora: dict[str, Corpus], options: argparse.Namespace) -> None:
    rounds, pings = (QUICK_ROUNDS, QUICK_PINGS) if options.quick else (ROUNDS, PINGS)
    stage = Stage.around(running, corpora, rounds=rounds, pings=pings)
    framework = options.framework.capitalize()
    say(f"Treadle demo: {framework} under gunicorn with {gunicorn_config.workers} processes at {running.address}")
    with contextlib.closing(stage.records):
        act_ping.meet_all(stage, gunicorn_config.workers)
        result, speed = act_speed.play(stage)
        act_ping.play(stage)
        act_crash.play(stage, result)
    sum_up(speed, running)


def sum_up(speed: act_speed.Speed, running: Server) -> None:
    heading("In short")
    say(f"  {speed}")
    say(f"  played at {running.address}, which is closed now")
    say("  watch it live in a browser: make demo ARGS=--serve")


if __name__ == "__main__":
    sys.exit(main())
