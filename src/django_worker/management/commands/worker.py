"""`manage.py worker …`: the verbs of `treadle.console`, for one alias of TASKS."""

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_worker.site import site
from treadle.console.verbs import add_verbs
from treadle.errors import TreadleError


class Command(BaseCommand):
    help = "Run jobs in the background, and look after them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--alias", default="default", help="The alias of TASKS (default: default).")
        add_verbs(parser.add_subparsers(required=True, metavar="VERB", parser_class=argparse.ArgumentParser))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            status = options["verb"].run(site(options["alias"]), argparse.Namespace(**options), self.stdout.write)
        except TreadleError as error:
            raise CommandError(str(error)) from error
        if status:
            sys.exit(status)
