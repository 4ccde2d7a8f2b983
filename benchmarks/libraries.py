"""What is measured, and with which settings."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

POLL_S = 0.001
"""How often a peer looks for jobs in the rows 'polling every 1 ms': below it only its idle load grows."""


@dataclass(frozen=True)
class Library:
    """One library, and how its worker is started on two processes."""

    name: str
    distributions: tuple[str, ...]
    """What its version is made of, the first being itself."""
    module: str
    """The App, below `benchmarks.apps`."""
    worker: tuple[str, ...]
    """What `python -m` starts."""
    workers: int = 1
    """How many of these commands make two processes."""
    fast_polling: tuple[str, ...] = ()
    """The documented options that make it look for jobs every POLL_S; empty where it does not poll."""
    default_polling: str = ""
    """What it does without them, in words."""
    notes: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    """What asks its worker to finish what runs, and end."""

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {version(name)}" for name in self.distributions)

    def command(self, *, is_fast: bool) -> tuple[str, ...]:
        """The arguments of the interpreter that start one worker process."""
        return ("-m", *self.worker, *(self.fast_polling if is_fast else ()))


TREADLE = Library(
    name="Treadle",
    distributions=("treadle",),
    module="with_treadle",
    worker=("treadle.cli", "worker", "run", "benchmarks.apps.with_treadle:app", "--concurrency", "2"),
    default_polling="none: it is woken",
    notes="all defaults; its children run at niceness 15",
)
HUEY = Library(
    name="Huey",
    distributions=("huey",),
    module="with_huey",
    worker=("huey.bin.huey_consumer", "benchmarks.apps.with_huey.huey", "-k", "process", "-w", "2", "-q"),
    fast_polling=("-d", str(POLL_S), "-m", str(POLL_S), "-b", "1"),
    default_polling="100 ms, growing by 1.15 up to 10 s while idle",
    notes="busy timeout 30 s; keeps nothing of a job that returns None, as by default",
    stop_signal=signal.SIGINT,
)
DJANGO_TASKS_DB = Library(
    name="django-tasks-db",
    distributions=("django-tasks-db", "Django"),
    module="with_django_tasks_db",
    worker=(
        *("django", "db_worker", "--settings", "benchmarks.apps.django_settings"),
        *("--no-startup-delay", "--verbosity", "0"),
    ),
    workers=2,
    fast_polling=("--interval", str(POLL_S)),
    default_polling="1 s",
    notes="transaction_mode IMMEDIATE, busy timeout 30 s, CONN_MAX_AGE None",
)

LIBRARIES: Sequence[Library] = (TREADLE, HUEY, DJANGO_TASKS_DB)
