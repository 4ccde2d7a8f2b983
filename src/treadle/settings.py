"""Every setting, with its unit and its default. Wrong ones are refused at start.

Flask reads them from `app.config` as `WORKER_<NAME>`, Django from `TASKS[alias]["OPTIONS"]` as
`<NAME>`, the core takes them as keyword arguments.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from treadle.errors import SettingsError, suggestion

DAY_S = 86_400

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Nice = Annotated[int, Meta(ge=0, le=19)]


class Mode(StrEnum):
    """What sending does."""

    STORE = "store"
    """Keep the job for a worker. The mode of production."""
    IMMEDIATE = "immediate"
    """Run the job inside the send, in this thread and without its limits: for a test that looks at the effect."""
    COLLECT = "collect"
    """Keep the job where only `run_pending()` runs it: for a test that looks at what was sent."""


class Embedded(StrEnum):
    """Whether a web process may run a worker in a thread of its own."""

    AUTO = "auto"
    """Once the process has served a request, and never under a test runner; with PostgreSQL only `flask run` and
    `runserver`."""
    ALWAYS = "always"
    NEVER = "never"


class Synchronous(StrEnum):
    """When SQLite waits for the disk."""

    NORMAL = "NORMAL"
    """At checkpoints: a power failure may lose the last commits, and never damages the file."""
    FULL = "FULL"
    """At every commit: nothing committed is lost, and a commit takes about ten times as long."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one application."""

    database_url: str | None = None
    """Where jobs are kept: `sqlite:///path`, `postgresql://user:password@host/database` or `memory://`."""
    mode: Mode = Mode.STORE
    embedded: Embedded = Embedded.AUTO
    concurrency: Count | None = None
    """Child processes of a worker; the usable cores where None."""
    threads: Count = 8
    """Jobs that a worker runs at once in the pool `threads`."""
    coroutines: Count = 100
    """Jobs that a worker runs at once in the pool `coroutines`."""
    executors: dict[str, Any] = {}
    """Pools of your own by name, for `pool="name"`: each a `concurrent.futures.Executor`, or a function that makes one,
    or the address `module:name` of either. One that a function makes is made anew when it has broken."""
    executor_slots: dict[str, Count] = {}
    """Jobs that a worker runs at once in each of them; 1 where not named."""
    queues: tuple[str, ...] = ()
    """The names that may be used, served in this order; empty: any name, all served alike."""
    app: str | None = None
    """How a child process builds the application: `package.module:name` or `…:create_app()`."""
    url_prefix: str | None = "/worker"
    """Where Flask mounts the routes; None: not at all."""
    link_max_age_s: Seconds = DAY_S
    """How long a link to a job's status is good for."""
    python: str | None = None
    """The interpreter of child processes, where `sys.executable` is not one."""
    job_nice: Nice = 12
    """Niceness of the processes that run jobs; they stand back behind those of `pool.map` too."""
    recycle_after_tasks: Count | None = None
    """After so many jobs a child process of a worker is replaced by a fresh one; None: never."""
    recycle_over_rss_mb: Annotated[float, Meta(gt=0)] | None = None
    """A child process of a worker that holds more memory than this after a job is replaced; None: never."""
    pool_nice: Nice = 10
    """Niceness of the processes behind `pool.map`. Beside this process, where it computes on the same core all the time,
    10 leaves them a tenth of that core, 5 a quarter, 12 a fifteenth; on an idle core they have all of it."""
    drain_s: Seconds = 10
    """How long a stopping worker waits for running jobs before it interrupts them."""
    deliver_s: Seconds = 10
    """How long a stopping worker tries to tell a store that is away how its jobs ended, before it leaves them to be
    rescued."""
    stuck_after_s: Annotated[float, Meta(gt=0)] = 3600
    """After so long a job in a thread, or a coroutine that blocks its event loop, is told of, and its slot replaced."""
    heartbeat_s: Annotated[float, Meta(gt=0)] = 3
    lease_s: Annotated[float, Meta(gt=0)] = 10
    """A worker on another host that was not heard of for this long is taken for dead."""
    unknown_task_s: Seconds = DAY_S
    """How long a job waits for a worker that knows its task, before it fails."""
    keep_succeeded_s: Seconds = 7 * DAY_S
    keep_failed_s: Seconds = 30 * DAY_S
    """How long failed and cancelled jobs are kept."""
    keep_results_s: Seconds | None = None
    """How long results are kept, of tasks without a `result_ttl_s` of their own; None: as long as their jobs."""
    max_payload_bytes: Count = 1024 * 1024
    max_result_bytes: Count = 16 * 1024 * 1024
    sqlite_synchronous: Synchronous = Synchronous.NORMAL
    postgres_listen: bool = True
    """Hear of changes at once, on one connection more a process; False, as PgBouncer needs it: look for them."""
    postgres_notify: bool = True
    """Tell those who listen of changes, at most 50 times a second a process."""
    postgres_answer_timeout_s: Annotated[float, Meta(gt=0)] = 30
    """A server that does not answer for so long counts as away: it, or a proxy before it, may hang. For as long may a
    transaction of the store be idle before the server ends it."""
    embedded_claims_per_s: Count = 500
    """How many jobs an embedded worker takes a second at most, for the sake of its web process."""


def load(values: Mapping[str, Any], *, prefix: str = "", ignore: frozenset[str] = frozenset()) -> Settings:
    """Settings from a mapping whose keys are `prefix` and the upper-case name.

    Keys without the prefix are somebody else's where there is a prefix. Raises SettingsError that
    names the key, its value where it is wrong, and the nearest known key where it is unknown.
    """
    known = {f"{prefix}{name}".upper(): name for name in Settings.__struct_fields__}
    chosen = {}
    for key, value in values.items():
        if not key.startswith(prefix) or key in ignore:
            continue
        if key not in known:
            raise SettingsError(f"unknown setting {key!r}{suggestion(key, known)}")
        chosen[known[key]] = value
    return make(chosen, {name: key for key, name in known.items()})


def make(values: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> Settings:
    """Settings by name; `labels` gives the name that a message uses. Raises SettingsError."""
    for name in values:
        if name not in Settings.__struct_fields__:
            raise SettingsError(f"unknown setting {name!r}{suggestion(name, Settings.__struct_fields__)}")
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, Settings)
        except msgspec.ValidationError as error:
            label = (labels or {}).get(name, name)
            reason = str(error).partition(" - at")[0]
            raise SettingsError(f"setting {label}={value!r}: {reason}{_allowed(name)}") from None
    settings = msgspec.convert(dict(values), Settings)
    if settings.lease_s <= settings.heartbeat_s:
        raise SettingsError(
            f"lease_s={settings.lease_s} must be longer than heartbeat_s={settings.heartbeat_s}, "
            "or live workers are taken for dead"
        )
    return settings


def _allowed(name: str) -> str:
    default = getattr(Settings(), name)
    if isinstance(default, StrEnum):
        return "; it is one of " + ", ".join(repr(str(choice)) for choice in type(default))
    return ""
