"""Hooks around jobs for what a request has in force: a task that mails a user writes in the language of the request.

from django_worker import around
from django_worker.hooks import language, time_zone

class ShopConfig(AppConfig):
def ready(self):
around(language)
around(time_zone)
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone, translation

from treadle.tracing import trace_context

__all__ = ["language", "time_zone", "trace_context"]


class Language:
    """The language that was active at the send is active in the run."""

    def capture(self) -> Mapping[str, str]:
        active = translation.get_language()
        return {} if active is None else {"language": active}

    def enter(self, headers: Mapping[str, str], job: object) -> AbstractContextManager[Any]:
        return translation.override(headers["language"]) if "language" in headers else nullcontext()


class TimeZone:
    """The time zone that was active at the send is active in the run."""

    def capture(self) -> Mapping[str, str]:
        active = timezone.get_current_timezone()
        if active == UTC:
            return {"time_zone": "UTC"}
        # Another one may have no name by which it could be found again, as may one that was read from a file.
        return {"time_zone": active.key} if isinstance(active, ZoneInfo) and active.key else {}

    def enter(self, headers: Mapping[str, str], job: object) -> AbstractContextManager[Any]:
        return timezone.override(headers["time_zone"]) if "time_zone" in headers else nullcontext()


language = Language()
time_zone = TimeZone()
