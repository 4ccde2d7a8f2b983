"""`flask worker …`: the verbs of `treadle.console`, for the current application."""

import argparse
import sys
from collections.abc import Callable

import click
from flask import current_app
from flask.cli import AppGroup

from treadle.app import Treadle
from treadle.console.verbs import VERBS, Verb
from treadle.errors import TreadleError

worker_commands = AppGroup("worker", help="Run jobs in the background, and look after them.")


def _command(verb: Verb) -> Callable[[tuple[str, ...]], None]:
    def command(arguments: tuple[str, ...]) -> None:
        parser = argparse.ArgumentParser(prog=f"flask worker {verb.name}", description=verb.help)
        verb.add_options(parser)
        options = parser.parse_args(arguments)
        treadle: Treadle = current_app.extensions["worker"]
        try:
            sys.exit(verb.run(treadle, options, click.echo))
        except TreadleError as error:
            click.echo(f"flask worker: {error}", err=True)
            sys.exit(1)

    return click.argument("arguments", nargs=-1, type=click.UNPROCESSED)(command)


for _verb in VERBS:
    # The options are those of argparse, the same in each integration: click hands them through.
    worker_commands.command(
        _verb.name, help=_verb.help, add_help_option=False, context_settings={"ignore_unknown_options": True}
    )(_command(_verb))
