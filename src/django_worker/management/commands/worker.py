"""`manage.py worker …`: the verbs of `treadle.console`, for one alias of TASKS."""

import argparse
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_worker import autoreload
from django_worker.site import DjangoTreadle, site
from treadle.console.verbs import add_verbs
from treadle.errors import TreadleError


class Command(BaseCommand):
    help = "Run jobs in the background, and look after them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--alias", default="default", help="The alias of TASKS (default: default).")
        verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=argparse.ArgumentParser)
        add_verbs(verbs)
        verbs.choices["run"].add_argument(
            "--autoreload", action="store_true", help="for development: begin anew when a file of the site changes"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            status = self._run(site(options["alias"]), argparse.Namespace(**options))
        except (TreadleError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        if status:
            sys.exit(status)

    def _run(self, treadle: DjangoTreadle, options: argparse.Namespace) -> int:
        if getattr(options, "autoreload", False):
            return autoreload.run_worker(treadle, options)
        status: int = options.verb.run(treadle, options, self.stdout.write)
        return status
