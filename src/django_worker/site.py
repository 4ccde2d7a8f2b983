"""One Treadle for each alias of `TASKS` that names our backend: one a process, whatever the thread.

The framework makes a backend object for each thread, so nothing that must be shared can live there.
"""

import asyncio
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import django
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.core import signing
from django.core.signals import request_started, setting_changed
from django.db import connections, transaction
from django.utils.module_loading import autodiscover_modules

from django_worker.connections import DjangoStore, WorkerStore, file_of
from django_worker.contract import LOGS, TaskResult, normalize_json, task_backends, task_finished, task_started
from django_worker.results import ended_result_of, result_of
from django_worker.worker_task import DjangoRegistry, WorkerContext
from treadle import settings
from treadle.app import Treadle, prepared
from treadle.around import Around
from treadle.errors import AppNotFound, ConfigurationError, PayloadError, PayloadTooLarge, SettingsError, UnknownTask
from treadle.handle import JobHandle
from treadle.job import Job, Kind, Outcome
from treadle.schedule import Schedules
from treadle.settings import Embedded
from treadle.staffing import Initializer
from treadle.states import State
from treadle.store.contract import Store
from treadle.store.opening import check_url
from treadle.store.sqlite_file import SqliteFile
from treadle.task import Context, Task
from treadle.web.links import SALT, Links
from treadle.worker import completion, execution
from treadle.worker.execution import Runner, Work

T = TypeVar("T")

NOT_FOR_DJANGO = {
    "app": "children find the site by DJANGO_SETTINGS_MODULE",
    "url_prefix": "include django_worker.urls where links to jobs are to be",
    "queues": "QUEUES stands beside OPTIONS",
}
"""Settings that Django has its own place for, and which."""


class DjangoTreadle(Treadle):
    """The Treadle behind one alias."""

    registry: DjangoRegistry

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Raises SettingsError for an unknown option or a wrong value."""
        chosen = options_of(params)
        queues = tuple(params.get("QUEUES", ["default"]))
        options = {**chosen, "queues": queues}
        super().__init__(
            registry=DjangoRegistry(alias), schedules=schedules[alias], hooks=hooks, alias=alias, **options
        )
        self.database = params.get("OPTIONS", {}).get("DATABASE", "default")
        self.links = Links(DjangoSigner(), self.settings.link_max_age_s)

    def _known(self, task: Any) -> Task[..., Any]:
        return task if isinstance(task, Task) else self.registry.core(task)

    @property
    def has_store_of_its_own(self) -> bool:
        """Whether jobs are kept at a DATABASE_URL, and not in a database of Django's."""
        return self.settings.database_url is not None

    @property
    def is_shared(self) -> bool:
        if self.has_store_of_its_own:
            return super().is_shared
        return bool(connections[self.database].vendor == "postgresql")

    def awaited_database(self) -> str | None:
        """The database whose commit a send waits for now: the sender is in a transaction there, and jobs are elsewhere.

        None where jobs are kept in that very transaction, or there is none.
        """
        if connections[self.database].in_atomic_block:
            return self.database if self.has_store_of_its_own else None
        if not self.may_await:
            return None
        opened = connections.all(initialized_only=True)
        return next((connection.alias for connection in opened if connection.in_atomic_block), None)

    @property
    def may_await(self) -> bool:
        """Whether there can be a transaction that jobs are not kept in."""
        return self.has_store_of_its_own or len(connections.settings) > 1

    def _send(self, drafts: Sequence[Job], connection: Any) -> list[JobHandle[Any]]:
        awaited = self.awaited_database()
        is_unseen = None if awaited is None else lambda: bool(connections[awaited].in_atomic_block)
        return [self._handle(job, is_unseen) for job in self.enqueue(drafts, connection)]

    def keep(self, drafts: Sequence[Job], connection: Any = None) -> list[Job]:
        awaited = self.awaited_database()
        if awaited is None:
            return super().keep(drafts, connection)
        self._check_children_find_app()
        jobs = [self._holder_of_key(draft) or draft for draft in drafts]
        new = [draft for draft, job in zip(drafts, jobs, strict=True) if job is draft]
        transaction.on_commit(lambda: self._enqueue_now(new), using=awaited)
        return jobs

    def _enqueue_now(self, drafts: Sequence[Job]) -> None:
        """Whatever transaction it is in: a test runs what would follow a commit inside of its own."""
        super().settle(super().keep(drafts))

    def _holder_of_key(self, draft: Job) -> Job | None:
        """The unfinished job that has the unique key of a call. One that comes until the commit is seen only then."""
        if draft.unique_key is None or draft.kind is not Kind.CALL:
            return None
        return self.store.unfinished(draft.task, draft.unique_key)

    def settle(self, jobs: list[Job], connection: Any = None) -> list[Job]:
        return super().settle(jobs, connection) if self.awaited_database() is None else jobs

    def once_kept(self, step: Callable[[], object]) -> None:
        """Do what follows a send: now, or with the commit."""
        awaited = self.awaited_database()
        if awaited is None:
            step()
        else:
            transaction.on_commit(step, using=awaited)

    @property
    def is_development_server(self) -> bool:
        return "runserver" in sys.argv[1:2]

    def open_store(self) -> Store:
        if self.has_store_of_its_own:
            return super().open_store()
        if self.is_shared:
            # Here, since the driver is an extra.
            from django_worker.postgres import DjangoPostgresStore

            return DjangoPostgresStore(self.database, self.settings)
        return DjangoStore(self.database, self._file())

    def _file(self) -> SqliteFile | None:
        return file_of(self.database, self.settings.sqlite_synchronous)

    def open_worker_store(self) -> Store:
        return self.store if self.has_store_of_its_own else prepared(self._worker_store())

    def _worker_store(self) -> Store:
        if self.is_shared:
            from django_worker.postgres import WorkerPostgresStore

            return WorkerPostgresStore(self.database, self.settings)
        file = self._file()
        if file is None:
            raise ConfigurationError(
                f"the database {self.database!r} is in memory, where no worker can see it: use run_pending()"
            )
        return WorkerStore(file)

    def make_runner(self) -> Runner:
        return DjangoRunner(self.registry, **self.runner_options)

    def find_schedules(self) -> Schedules:
        """Imports the module `schedules` of each installed app, if there is one. Raises ConfigurationError."""
        try:
            autodiscover_modules("schedules")
        except Exception as error:
            # It is the user's, and may raise anything.
            raise ConfigurationError(f"a module 'schedules' of an app cannot be imported: {error!r}") from error
        return super().find_schedules()

    def child_initializer(self) -> Initializer:
        if not os.environ.get("DJANGO_SETTINGS_MODULE"):
            raise AppNotFound(
                "DJANGO_SETTINGS_MODULE is not set, so a child process could not find the settings: put them into "
                "a module and name it there"
            )
        return execution.install, (runner_of, self.alias)

    def pool_initializer(self) -> Initializer:
        return django.setup, ()

    def preload(self) -> tuple[str, ...]:
        return (f"{__name__}:{set_up.__name__}()",)

    def pool_preload(self) -> tuple[str, ...]:
        return self.preload()

    def may_embed(self) -> bool:
        if not super().may_embed():
            return False
        if self.settings.embedded is Embedded.ALWAYS:
            return True
        return not ("pytest" in sys.modules or "test" in sys.argv[1:2])

    async def aside(self, step: Callable[[], T]) -> T:
        """In the thread that asgiref keeps for the request: Django's connections belong to it."""
        return await sync_to_async(step, thread_sensitive=True)()


class DjangoRunner(Runner):
    """Runs each job with fresh connections, the framework's context and its signals."""

    registry: DjangoRegistry

    def __init__(self, registry: DjangoRegistry, **options: Any) -> None:
        super().__init__(registry, **options)
        self._coroutines: set[object] = set()
        """The runs that go on in event loops."""

    async def arun(self, work: Work) -> Outcome:
        """In an event loop, whose runs all ask the database in the one thread that asgiref keeps for them."""
        self._clean_that_thread()
        run = object()
        self._coroutines.add(run)
        try:
            return await super().arun(work)
        finally:
            self._coroutines.remove(run)
            self._clean_that_thread()

    def _clean_that_thread(self) -> None:
        """Before what is asked there from now on. Nobody waits for it: most ask nothing, and others may keep it busy."""
        clean = _close_unusable_connections if self._coroutines else _clean_connections
        SyncToAsync.single_thread_executor.submit(clean)

    def find(self, job: Job) -> Task[Any, Any]:
        """Raises UnknownTask also for an alias that TASKS has not: while workers are replaced, it may be a new one."""
        if job.alias not in task_backends.settings:
            raise UnknownTask(f"the job was sent by the alias {job.alias!r}, which is not in TASKS here")
        return super().find(job)

    def awaited(self, coroutine: Any) -> Any:
        """It asks the database on this thread's connection, so in a test inside of its transaction."""
        return super().awaited(coroutine) if _is_in_event_loop() else async_to_sync(_value_of)(coroutine)

    @contextmanager
    def surroundings(self, task: Task[Any, Any], work: Work) -> Iterator[None]:
        _clean_connections()
        try:
            yield
        finally:
            _clean_connections()

    @contextmanager
    def context(self, task: Task[Any, Any], work: Work) -> Iterator[Any]:
        with super().context(task, work) as core:
            yield self.framework_context(work, core) if task.settings.takes_context else core

    def encode(self, task: Task[Any, Any], job: Job, values: list[Any]) -> str:
        """Raises the framework's own TypeError for a type that it does not know either, else PayloadError."""
        try:
            return super().encode(task, job, values)
        except PayloadTooLarge:
            raise
        except PayloadError:
            normalize_json(values)
            raise

    def framework_context(self, work: Work, core: Context) -> WorkerContext:
        return WorkerContext(result_of(work.job, work.earlier, self.registry), core)

    def begins(self, task: Task[Any, Any], work: Work) -> None:
        if result := self._begun(work):
            task_started.send_robust(sender=self._backend_class(result), task_result=result)

    async def abegins(self, task: Task[Any, Any], work: Work) -> None:
        if result := self._begun(work):
            await _asend(task_started, self._backend_class(result), result)

    def _begun(self, work: Work) -> "TaskResult[Any] | None":
        """What the framework is told of a run that begins, if it knows the task."""
        known = work.job.task in self.registry
        return result_of(work.job, work.earlier, self.registry) if known else None

    def ended(self, task: Task[Any, Any], work: Work, outcome: Outcome) -> None:
        if result := self._ended(work, outcome):
            task_finished.send_robust(sender=self._backend_class(result), task_result=result)

    async def aended(self, task: Task[Any, Any], work: Work, outcome: Outcome) -> None:
        if result := self._ended(work, outcome):
            await _asend(task_finished, self._backend_class(result), result)

    def _ended(self, work: Work, outcome: Outcome) -> "TaskResult[Any] | None":
        """What the framework is told of a run that has ended; nothing where the job will run again."""
        will_run_again = outcome.retry_after_s is not None
        if will_run_again or work.job.task not in self.registry:
            return None
        return ended_result_of(work.job, work.earlier, outcome, self._clock.now_us(), self.registry)

    def has_kept(self, job: Job) -> bool:
        """Looked up, since who has written it may have rolled back, or have raised after the commit."""
        treadle = site(job.alias)
        # In a call of the application's own only its connection sees it; elsewhere an event loop may run, in which Django
        # refuses to use one.
        store = treadle.store if completion.is_of_caller(job) else treadle.worker_store
        row = store.job(job.id)
        return row is not None and (row.claim, row.state) == (job.claim, State.SUCCEEDED)

    def _backend_class(self, result: Any) -> type:
        return type(task_backends[result.backend])


async def _asend(signal: Any, sender: type, result: "TaskResult[Any]") -> None:
    """Send a signal in an event loop, where a receiver may neither wait for a coroutine nor ask a database."""
    plain, coroutines = signal._live_receivers(sender)
    if coroutines or any(getattr(receiver, "__module__", None) != LOGS for receiver in plain):
        # From the thread in which coroutines ask the database, which knows the error that is being handled, as the
        # framework's own `asend_robust` would not; and coroutines are awaited here.
        await sync_to_async(signal.send_robust, thread_sensitive=True)(sender=sender, task_result=result)
    else:
        # Those that write its log do no such thing, and to call them in another thread takes longer than they do.
        signal.send_robust(sender=sender, task_result=result)


def _clean_connections() -> None:
    """As Django does around a request, but for those inside a transaction: a test runs jobs in its own."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
            if not connection.force_debug_cursor:
                # With DEBUG each keeps what it was asked, and a worker never ends; but somebody may be counting.
                connection.queries_log.clear()


def _close_unusable_connections() -> None:
    """While other coroutines may be in the middle of what they read; who finds a broken one reads no more."""
    for connection in connections.all(initialized_only=True):
        is_suspect = connection.errors_occurred and connection.connection is not None
        if is_suspect and not connection.in_atomic_block and not connection.is_usable():
            connection.close()


async def _value_of(coroutine: Any) -> Any:
    return await coroutine


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class DjangoSigner:
    """Django's own signing, which honours SECRET_KEY_FALLBACKS."""

    def sign(self, value: dict[str, Any]) -> str:
        return signing.dumps(value, salt=SALT)

    def unsign(self, token: str, max_age_s: float) -> Any:
        try:
            return signing.loads(token, salt=SALT, max_age=int(max_age_s))
        except signing.BadSignature:
            return None


def options_of(params: dict[str, Any]) -> dict[str, Any]:
    """The settings in `TASKS[alias]["OPTIONS"]`. Raises SettingsError."""
    options = params.get("OPTIONS", {})
    for name, instead in NOT_FOR_DJANGO.items():
        if name.upper() in options:
            raise SettingsError(f"{name.upper()} is no option in Django: {instead}")
    chosen = settings.load(options, ignore=frozenset({"DATABASE"}))
    if chosen.database_url is not None:
        check_url(chosen.database_url)
    return {name: getattr(chosen, name) for name in chosen.__struct_fields__ if name not in NOT_FOR_DJANGO}


schedules: defaultdict[str, Schedules] = defaultdict(Schedules)
"""Those of each alias: declared once, at import, whatever becomes of the site that a test's settings replace."""

hooks = Around()
"""Those around the jobs of all aliases."""

_lock = threading.Lock()
_sites: dict[str, tuple[Any, DjangoTreadle]] = {}


def site(alias: str = "default") -> DjangoTreadle:
    """The Treadle of an alias. Raises ConfigurationError where that alias names another backend."""
    backend: Any = task_backends[alias]
    if not getattr(backend, "is_treadle", False):
        raise ConfigurationError(
            f"TASKS[{alias!r}] uses {type(backend).__module__}.{type(backend).__qualname__}; this needs "
            "django_worker.backend.WorkerBackend"
        )
    params = task_backends.settings[alias]
    database = params.get("OPTIONS", {}).get("DATABASE", "default")
    # A test runner gives the database another name, and a store knows its file by name.
    # Without such a database there are tasks all the same, so that a check can say that there is none.
    key = connections[database].settings_dict["NAME"] if database in connections.settings else None
    with _lock:
        if alias in _sites and _sites[alias][0] != key:
            _sites.pop(alias)[1].close()
        if alias not in _sites:
            _sites[alias] = (key, DjangoTreadle(alias, params))
        return _sites[alias][1]


def our_aliases() -> list[str]:
    """The aliases of `TASKS` that name our backend."""
    return [alias for alias in task_backends.settings if getattr(task_backends[alias], "is_treadle", False)]


def _forget(*, setting: str, **extra: Any) -> None:
    if setting in ("TASKS", "DATABASES"):
        with _lock:
            for _, treadle in _sites.values():
                treadle.close()
            _sites.clear()


setting_changed.connect(_forget, dispatch_uid="django_worker.site")


def set_up() -> None:
    """Make Django ready in a process that children are forked from.

    What an application's `ready()` has asked a database stays open otherwise, and a connection must not cross a fork.
    Here it can be closed: nobody shares it yet. In a child that could drop locks which others rely on.
    """
    django.setup()
    connections.close_all()


def runner_of(alias: str) -> Runner:
    """The runner of an alias, in a child."""
    django.setup()
    return site(alias).runner


def start_embedded(**extra: Any) -> None:
    """With the first request that a process serves: stand for election as the embedded worker."""
    request_started.disconnect(dispatch_uid=EMBEDDED_UID)
    for alias in our_aliases():
        site(alias).start_embedded()


EMBEDDED_UID = "django_worker.embedded"
