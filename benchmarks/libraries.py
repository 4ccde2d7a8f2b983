"""What is measured, and with which settings."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from benchmarks.servers import Service

POLL_S = 0.001
"""How often a peer looks for jobs in the rows 'polling every 1 ms': below it only its idle load grows."""


@dataclass(frozen=True)
class Library:
    """One library on one service, and how its worker is started on two processes."""

    package: str
    service: Service
    distributions: tuple[str, ...]
    """What its version is made of, the first being itself."""
    module: str
    """The App, below `benchmarks.apps`."""
    worker: tuple[str, ...]
    """What `python -m` starts."""
    variant: str = ""
    """Which of its workers, where it has several."""
    workers: int = 1
    """How many of these commands make two processes."""
    bulk: str = ""
    """Its verb that sends many jobs at once; empty where it has none."""
    share: float = 1.0
    """Of the jobs of a run: a slower library gets fewer, so that each takes a few seconds."""
    fast_polling: tuple[str, ...] = ()
    """The documented options that make it look for jobs every POLL_S; empty where it does not poll."""
    default_polling: str = ""
    """What it does without them, in words; empty where it is woken."""
    notes: str = "all defaults"
    stop_signal: signal.Signals = signal.SIGTERM
    """What asks its worker to finish what runs, and end."""
    is_ours: bool = False

    @property
    def name(self) -> str:
        return f"{' '.join(filter(None, [self.package, self.variant]))} + {self.service}"

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {version(name)}" for name in self.distributions)

    def command(self, *, is_fast: bool) -> tuple[str, ...]:
        """The arguments of the interpreter that start one worker process."""
        return ("-m", *self.worker, *(self.fast_polling if is_fast else ()))

    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        absent = [name for name in self.distributions if not _is_installed(name)]
        return f"not installed: {', '.join(absent)} (pip install 'treadle[bench]')" if absent else None


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


TREADLE = Library(
    package="Treadle",
    service=Service.SQLITE,
    distributions=("treadle",),
    module="with_treadle",
    worker=("treadle.cli", "worker", "run", "benchmarks.apps.with_treadle:app", "--concurrency", "2"),
    bulk="send_many",
    notes="all defaults; its children run at niceness 12",
    is_ours=True,
)
HUEY = Library(
    package="Huey",
    service=Service.SQLITE,
    distributions=("huey",),
    module="with_huey",
    worker=("huey.bin.huey_consumer", "benchmarks.apps.with_huey.huey", "-k", "process", "-w", "2", "-q"),
    fast_polling=("-d", str(POLL_S), "-m", str(POLL_S), "-b", "1"),
    default_polling="100 ms, growing by 1.15 up to 10 s while idle",
    notes="busy timeout 30 s; keeps nothing of a job that returns None, as by default",
    stop_signal=signal.SIGINT,
)
DJANGO_TASKS_DB = Library(
    package="django-tasks-db",
    service=Service.SQLITE,
    distributions=("django-tasks-db", "Django"),
    module="with_django_tasks_db",
    worker=(
        *("django", "db_worker", "--settings", "benchmarks.apps.django_settings"),
        *("--no-startup-delay", "--verbosity", "0"),
    ),
    workers=2,
    share=0.15,
    fast_polling=("--interval", str(POLL_S)),
    default_polling="1 s",
    notes="transaction_mode IMMEDIATE, busy timeout 30 s, CONN_MAX_AGE None",
)
PROCRASTINATE = Library(
    package="Procrastinate",
    service=Service.POSTGRES,
    distributions=("procrastinate", "psycopg"),
    module="with_procrastinate",
    worker=("procrastinate", "--log-level", "error", "--app", "benchmarks.apps.with_procrastinate.app", "worker"),
    workers=2,
    bulk="batch_defer",
    share=0.15,
    notes="all defaults: each of two workers runs one job at a time; the task is a coroutine",
)
CELERY = Library(
    package="Celery",
    service=Service.REDIS,
    distributions=("celery", "redis"),
    module="with_celery",
    worker=("celery", "-A", "benchmarks.apps.with_celery:app", "worker", "-c", "2", "--loglevel", "ERROR"),
    share=0.2,
    notes="all defaults: the pool prefork, no result backend; a job is acknowledged before it runs",
)
RQ = Library(
    package="RQ",
    variant="(fork)",
    service=Service.REDIS,
    distributions=("rq", "redis"),
    module="with_rq",
    worker=("rq.cli", "worker", "-c", "benchmarks.apps.with_rq", "--quiet"),
    workers=2,
    bulk="enqueue_many",
    share=0.03,
    notes="all defaults: a process is forked for each job",
)
RQ_SIMPLE = replace(
    RQ,
    variant="(SimpleWorker)",
    worker=(*RQ.worker, "--worker-class", "rq.worker.SimpleWorker"),
    share=0.15,
    notes="jobs run in the worker itself, which a job that crashes takes along",
)
DRAMATIQ = Library(
    package="Dramatiq",
    service=Service.REDIS,
    distributions=("dramatiq", "redis"),
    module="with_dramatiq",
    worker=("dramatiq", "benchmarks.apps.with_dramatiq", "--processes", "2"),
    default_polling="after pauses that grow up to 1 s; it has no option for it, so it polls so in all columns",
    notes="all defaults: 8 threads in each process",
)
TASKIQ = Library(
    package="taskiq",
    service=Service.REDIS,
    distributions=("taskiq", "taskiq-redis", "redis"),
    module="with_taskiq",
    worker=("taskiq", "worker", "benchmarks.apps.with_taskiq:broker", "--workers", "2", "--log-level", "ERROR"),
    share=0.8,
    notes="RedisStreamBroker; the task is a coroutine, up to 100 at once in each process, as by default",
)
SAQ = Library(
    package="SAQ",
    service=Service.REDIS,
    distributions=("saq", "redis"),
    module="with_saq",
    worker=("saq", "benchmarks.apps.with_saq.settings"),
    workers=2,
    share=0.8,
    notes="all defaults: the task is a coroutine, up to 10 at once in each process",
)

LIBRARIES: Sequence[Library] = (
    TREADLE,
    replace(TREADLE, service=Service.POSTGRES, distributions=("treadle", "psycopg"), share=0.6),
    HUEY,
    replace(HUEY, service=Service.REDIS, distributions=("huey", "redis"), fast_polling=(),
            default_polling="", notes="keeps nothing of a job that returns None, as by default"),
    DJANGO_TASKS_DB,
    replace(DJANGO_TASKS_DB, service=Service.POSTGRES, distributions=("django-tasks-db", "Django", "psycopg"),
            share=0.05, notes="CONN_MAX_AGE None"),
    PROCRASTINATE,
    CELERY,
    RQ,
    RQ_SIMPLE,
    DRAMATIQ,
    TASKIQ,
    SAQ,
)  # fmt: skip
