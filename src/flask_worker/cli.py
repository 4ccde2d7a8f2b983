"""`flask worker run | status | migrate`."""

import sys
from collections.abc import Callable

import click
from flask import current_app
from flask.cli import AppGroup

from treadle import cli
from treadle.app import Treadle
from treadle.errors import TreadleError

worker_commands = AppGroup("worker", help="Run jobs in the background, and look after them.")


@worker_commands.command()
@click.option("--concurrency", type=click.IntRange(min=1), help="Child processes (default: the usable cores).")
@click.option("--queues", default="", help="Only these queues, in this order, separated by commas.")
def run(concurrency: int | None, queues: str) -> None:
    """Take jobs until SIGTERM or Ctrl-C."""
    _explained(lambda app: cli.run_worker(app, concurrency, cli.split_queues(queues)))


@worker_commands.command()
def status() -> None:
    """Show the workers, and how many jobs are in each state."""
    _explained(cli.print_status)


@worker_commands.command()
def migrate() -> None:
    """Make the tables of the store, or bring them up to date."""
    _explained(cli.migrate)


def _explained(command: Callable[[Treadle], None]) -> None:
    treadle: Treadle = current_app.extensions["worker"]
    try:
        command(treadle)
    except TreadleError as error:
        click.echo(f"flask worker: {error}", err=True)
        sys.exit(1)
