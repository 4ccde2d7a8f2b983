"""The times of a cron text in a time zone, as Debian's cron has them; read by the library cronsim.

Where the clocks go forward, what would have come in the hour that is left out comes at its end; where they go back, it
comes once, in the first of the two hours. What comes every few minutes or every hour (a minute or an hour that begins with `*`, or a text with
seconds) follows the time that passes instead: it is neither moved nor left out.
"""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from treadle.clock import US_PER_S, as_datetime, as_us
from treadle.errors import InvalidSchedule, suggestion

FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")


class Cron:
    """When something is due. Two with the same text and the same zone have the same times."""

    def __init__(self, text: str, timezone: str) -> None:
        """Raises InvalidSchedule for a text that has no times, naming its wrong field, or for an unknown zone."""
        self.text = _one_spaced(text)
        self.timezone = timezone
        self._zone = _zone(timezone)
        self._check()

    def next_us(self, after_us: int) -> int:
        """The first time after this one; how long ago the one before was does not matter."""
        return next(self._times_us(after_us))

    def newest_us(self, after_us: int, until_us: int) -> int:
        """The last time until `until_us`. There must be one after `after_us`."""
        # Backwards in ever longer steps, for there may be millions of them.
        step_us = US_PER_S
        while self.next_us(start_us := max(after_us, until_us - step_us)) > until_us:
            step_us *= 2
        newest_us = start_us
        for moment_us in self._times_us(start_us):
            if moment_us > until_us:
                break
            newest_us = moment_us
        return newest_us

    def local(self, moment_us: int) -> datetime:
        """A time as the clocks of the zone show it."""
        return as_datetime(moment_us).astimezone(self._zone)

    def _times_us(self, after_us: int) -> Iterator[int]:
        """All times after this one."""
        for moment in CronSim(self.text, self.local(after_us)):
            # In the second of two equal hours the library begins with what was due in the first.
            if (moment_us := as_us(moment)) > after_us:
                yield moment_us

    def _check(self) -> None:
        fields = self.text.split(" ")
        if len(fields) not in {5, 6}:
            raise InvalidSchedule(
                f"cron text {self.text!r}: five fields are needed, minute hour day-of-month month day-of-week, as in "
                "'0 3 * * *'; or six, with seconds before them"
            )
        try:
            self.next_us(0)
        except CronSimError as error:
            raise InvalidSchedule(f"cron text {self.text!r}: {_wrong_field(fields, str(error))}") from None
        except (StopIteration, OverflowError):
            raise InvalidSchedule(f"cron text {self.text!r} is never due: no day fits it in 50 years") from None


def _one_spaced(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidSchedule(f"a cron text is a text as '0 3 * * *', got {text!r}")
    return " ".join(text.split())


def _wrong_field(fields: list[str], error: str) -> str:
    """Which field is wrong, with what it says; the library says `Bad minute`."""
    name = error.removeprefix("Bad ")
    if name not in FIELDS:
        return error
    return f"{fields[FIELDS.index(name) - 6 + len(fields)]!r} is no {name}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        # No such name, one that leaves the folder of zones, a folder in it, or no text.
        known = available_timezones()
        hint = suggestion(name, known) if known else "; this system knows none: install the package tzdata"
        raise InvalidSchedule(f"unknown time zone {name!r}{hint}; use a name as 'Europe/Berlin' or 'UTC'") from None
