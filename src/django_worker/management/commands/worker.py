"""`manage.py worker run | status`."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_worker.site import site
from treadle import cli
from treadle.errors import TreadleError


class Command(BaseCommand):
    help = "Run jobs in the background, and look after them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--alias", default="default", help="The alias of TASKS (default: default).")
        verbs = parser.add_subparsers(
            dest="verb", required=True, metavar="run | status", parser_class=argparse.ArgumentParser
        )
        cli.add_worker_options(verbs.add_parser("run", help="Take jobs until SIGTERM or Ctrl-C."))
        verbs.add_parser("status", help="Show the workers, and how many jobs are in each state.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            treadle = site(options["alias"])
            if options["verb"] == "run":
                cli.run_worker(treadle, options["concurrency"], tuple(options["queues"]))
            else:
                cli.print_status(treadle, self.stdout.write)
        except TreadleError as error:
            raise CommandError(str(error)) from error
