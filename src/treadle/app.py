"""`Treadle`: one application's settings, tasks, store and pools, and the verbs on them."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property, partial
from typing import Any, ParamSpec, TypeVar

import msgspec

from treadle import codec, cores, settings, staffing
from treadle.around import Around
from treadle.clock import Clock, SystemClock, as_datetime
from treadle.errors import (
    AppNotFound,
    CannotJoin,
    InvalidSchedule,
    JobNotFound,
    NotATask,
    SettingsError,
    WouldDeadlock,
    suggestion,
)
from treadle.events import Events, JobEnqueued, JobRetried, JobsExpired, JobsForgotten, QueuePaused, QueueResumed
from treadle.forgetting import forget_labelled
from treadle.handle import JobHandle, refuse_in_event_loop, result_expired
from treadle.job import Job, Kind
from treadle.locate import importable_module, is_imported, load_target, target_of
from treadle.pools import current
from treadle.pools.processes import ProcessPool
from treadle.pools.processes.wire import MAY_FAIL
from treadle.pools.threads import ThreadPool
from treadle.report.log import log_events
from treadle.schedule import CatchUp, Schedule, Schedules, Tick, make_schedule
from treadle.sending import Attendance, Drafts, connection_of, fitting_parts
from treadle.settings import Embedded, Mode, Settings
from treadle.staffing import Initializer
from treadle.states import State
from treadle.store.contract import Forgotten, Query, Store
from treadle.store.joining import driver_connection, is_open, join
from treadle.store.opening import check_url, is_memory, is_postgres, open_store
from treadle.task import BoundTask, Registry, Task
from treadle.worker import execution
from treadle.worker.alive import AliveFolder
from treadle.worker.embedded import EmbeddedWorker
from treadle.worker.execution import Runner
from treadle.worker.inline import run_ready
from treadle.worker.loop import Worker
from treadle.worker.places import Place
from treadle.worker.scheduling import Scheduling
from treadle.worker.upkeep import Duty

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H")


ALL = 1_000_000_000
"""More jobs than any store has."""


class Sent(msgspec.Struct, frozen=True):
    """A call that was sent, as `sent()` lists it."""

    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    job_id: str

    def __repr__(self) -> str:
        # As that of a job: what it was given may be secret.
        return f"<Sent {self.task} {self.job_id}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What the library Rich shows, likewise."""
        return [("task", self.task), ("job_id", self.job_id)]


class Treadle:
    """One application. Opens nothing before it is used.

    The integrations subclass it: what they refine stands under "For the integrations".
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        registry: Registry | None = None,
        schedules: Schedules | None = None,
        hooks: Around | None = None,
        clock: Clock | None = None,
        alias: str = "default",
        **options: Any,
    ) -> None:
        """`database_url`: `sqlite:///path`, `postgresql://…` or `memory://`; `options` are those of `treadle.settings`.

        Raises SettingsError for an unknown option or a wrong value.
        """
        if database_url is not None:
            options["database_url"] = database_url
        self.registry = Registry() if registry is None else registry
        self.schedules = Schedules() if schedules is None else schedules
        self.hooks = Around() if hooks is None else hooks
        self.events = Events()
        log_events(self.events)
        self.alias = alias
        self._clock: Clock = clock or SystemClock()
        self._attendance = Attendance(self._clock, self.events.announce)
        self._lock = threading.RLock()
        self._embedded: EmbeddedWorker | None = None
        self.task = self.registry.task
        self.use_settings(settings.make(options))

    # Sending

    def send_function(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Send one call; every argument after the task is the task's.

        Where an unfinished job of the task has its `unique_key`, that job is given, and nothing is sent.
        Raises NotATask, TypeError where the arguments do not fit, PayloadError or PayloadTooLarge
        where they cannot be kept, and a StoreError; then nothing was sent.
        """
        return self.send_many([self._known(task).bind(*args, **kwargs)])[0]

    def send_many(self, calls: Iterable[BoundTask[R]]) -> list[JobHandle[R]]:
        """Send many calls, made by `task.bind(…)`, in one transaction."""
        calls = list(calls)
        return self._send(self.drafts(calls), connection_of(call.task for call in calls))

    def send_map(
        self,
        task: Task[..., Any],
        items: Iterable[Any],
        *,
        reduce: Task[..., R] | None = None,
        parts: int | None = None,
    ) -> JobHandle[Any]:
        """Send `task(item)` for each item, as one job that is done when all of them are.

        The items travel in `parts` parts, which run in parallel. By default there are 16 for each
        core of `concurrency`; where the last map of this task has shown how long an item takes, fewer
        if a part would take less than 5 ms, and more, up to 1000, if one would take longer than 2 s.
        Where a part would be larger than `max_payload_bytes`, there are as many more as it needs.
        The result is the list of all results in order, or what `reduce(results)` returns, itself a task.
        The job's progress counts items; if a part fails, the job fails and names it; cancelling the
        job cancels its parts. A part of n items may take n times the `timeout_s` of the task.
        A `unique_key` of `task`, or of `reduce`, is that of the whole map.
        """
        if parts is not None and parts < 1:
            raise ValueError(f"parts must be at least 1, got {parts}")
        tasks = [self._known(task)]
        if reduce is not None and self._known(reduce).settings.connection is not None:
            tasks.append(reduce)
        items = list(items)
        connection = connection_of(tasks)
        if parts is None:
            fitting = fitting_parts(len(items), self.slots, self._store_of(connection).item_s(task.name))
            jobs = self._drafts.map_that_fits(task, items, reduce, fitting)
        else:
            jobs = self._drafts.map(task, items, reduce, parts)
        return self._send(jobs, connection)[-1]

    def schedule(
        self,
        cron: str,
        call: BoundTask[Any] | Task[[], Any],
        *,
        timezone: str = "UTC",
        catch_up: CatchUp = "once",
        name: str | None = None,
    ) -> Schedule:
        """Have workers send a call again and again: `app.schedule("0 3 * * *", report.bind(7), timezone="Europe/Berlin")`.

        To be called at import; sends nothing by itself. `cron` has five fields (minute hour day-of-month month
        day-of-week), or six with seconds before them. However many workers there are, each time it is due one of them
        sends one job, with the options of the call's task, and in its headers `schedule` and `scheduled_for`.

        `catch_up`: what becomes of times that came while no worker was there for a minute or longer. `once`: one job for
        all of them, as soon as there is a worker again; `skip`: none. `name` (default: task and cron text) is what the
        store knows it by, so it must be its own among all that use this store. A name whose `cron` or `timezone` has
        changed begins anew from now.

        Raises InvalidSchedule, naming the wrong field; NotATask; and what `send_function` raises for such a call.
        """
        schedule = make_schedule(cron, call, timezone=timezone, catch_up=catch_up, name=name)
        self._check_schedule(schedule)
        return self.schedules.add(schedule)

    def around(self, hook: H) -> H:
        """Add a hook around jobs, `@app.around class Tenant: …`; see `treadle.around.Hook`. To be called at import.

        What its `capture()` gives at a send travels in the headers of the job, and `enter(headers, job)` is a context
        manager that is in force where the job runs. Raises ConfigurationError for what is no hook.
        """
        return self.hooks.add(hook)

    def _check_schedule(self, schedule: Schedule) -> None:
        """What could not be sent is refused at start, not at midnight."""
        if schedule.call.task.settings.connection is not None:
            raise InvalidSchedule(f"{schedule.name}: a worker sends it, which has no part in a connection of yours")
        self._scheduled_job(schedule, Tick(self._clock.now_us()))

    def _scheduled_job(self, schedule: Schedule, tick: Tick) -> Job:
        job = self._drafts.call(self._known(schedule.call.task), schedule.call)
        return msgspec.structs.replace(job, headers={**job.headers, **schedule.headers(tick.at_us)})

    def _send(self, drafts: Sequence[Job], connection: Any) -> list[JobHandle[Any]]:
        is_unseen = partial(is_open, driver_connection(connection)) if connection is not None else None
        return [self._handle(job, is_unseen) for job in self.enqueue(drafts, connection)]

    def _store_of(self, connection: Any) -> Store:
        return self.store if connection is None else self._joined(connection)

    def _joined(self, connection: Any) -> Store:
        """The store in the transaction of a caller's connection. Raises CannotJoin, or SchemaMissing."""
        if is_memory(self.settings.database_url or self.default_url()):
            raise CannotJoin(
                "jobs are kept in memory here: set database_url to the address of the connection's database"
            )
        joined = join(connection, notify=self.settings.postgres_notify)
        # Looked at first: the caller's transaction might keep the store from making tables that are missing.
        if joined.secret() != self.store.secret():
            raise CannotJoin(
                f"{joined} leads to another database than that of the jobs, {self.store}: give one to that database, "
                "or set database_url to the address of this one"
            )
        return joined

    def _known(self, task: Any) -> Task[..., Any]:
        if isinstance(task, Task) and self.registry.knows(task):
            return task
        if isinstance(task, Task):
            raise NotATask(f"{task.name} is a task of another application; send it through that one")
        name = getattr(task, "__qualname__", repr(task))
        raise NotATask(f"{name} is not a task: decorate it with @task, and pass the task, not a call of it")

    # Looking

    def job(self, job_id: str) -> JobHandle[Any]:
        """The job with this id. Raises JobNotFound, also for what could be no id."""
        could_be = isinstance(job_id, str) and job_id.isascii() and job_id.isprintable()
        row = self.store.job(job_id) if could_be else None
        if row is None:
            raise JobNotFound(f"there is no job {job_id!r:.80}")
        return self._handle(row)

    def jobs(
        self,
        *,
        state: State | str | None = None,
        task: str | None = None,
        queue: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int = 50,
    ) -> list[JobHandle[Any]]:
        """The newest jobs that fit. Raises ValueError for a state that there is not, or a limit below 0."""
        if limit < 0:
            raise ValueError(f"limit is at least 0, got {limit}")
        wanted = State(state) if state is not None else None
        query = Query(state=wanted, task=task, queue=queue, labels=labels or {}, limit=min(limit, ALL))
        return [self._handle(row) for row in self.store.find(query)]

    def _handle(self, row: Job, is_unseen: Callable[[], bool] | None = None) -> JobHandle[Any]:
        return JobHandle(
            row, self.store, self._clock, self._decode_result, self.refuse_to_wait, self.aside, is_unseen, self._retried,
        )  # fmt: skip

    def _retried(self, row: Job) -> None:
        self.events.announce(JobRetried(row))
        if self.settings.mode is Mode.IMMEDIATE:
            self._run_ready(self.store)

    def _decode_result(self, row: Job) -> Any:
        if row.result is None:
            raise result_expired(row)
        if row.task in self.registry and row.kind is not Kind.PART:
            return self.registry.find(row.task).decode_result(row.result)
        return codec.decode(row.result)

    # Keeping

    def pause(self, *queues: str) -> None:
        """Have no worker take jobs of these queues until `resume`; what is sent is kept, and what runs goes on.

        It stands in the store, so it holds for every worker, and over restarts. To pause twice is no error. Raises
        SettingsError for a queue that the settings do not list.
        """
        for queue in queues:
            self._check_queue(queue)
        for queue in sorted(self.store.pause(queues, self._clock.now_us())):
            self.events.announce(QueuePaused(queue))

    def resume(self, *queues: str) -> None:
        """Have the jobs of these queues taken again; nothing happens where one was not paused."""
        for queue in sorted(self.store.resume(queues)):
            self.events.announce(QueueResumed(queue))

    def paused(self) -> dict[str, datetime]:
        """The queues that are paused, and since when."""
        return {queue: as_datetime(at_us) for queue, at_us in sorted(self.store.paused_queues().items())}

    def forget(self, *, labels: dict[str, str]) -> Forgotten:
        """Blank the finished jobs that have all these labels, as where a person or a customer asks for it.

        Gone are their arguments, results, keys, messages, the text of their progress and of their errors; states, times,
        labels and the classes of errors stay. Answers how many were `forgotten` now, and how many are `unfinished`
        (parts count with their whole): these are left, so call it again when they have ended.

        `result()` of one that has succeeded raises ResultExpired then, and none can be retried. It is done in steps of a hundred
        jobs, each in a transaction of its own, and each job of the store is looked at once. Raises ValueError for no
        labels, and a StoreError; then what was forgotten before stays so.
        """
        came_of_it = forget_labelled(self.store, labels)
        if came_of_it != Forgotten():
            self.events.announce(JobsForgotten(came_of_it.forgotten, came_of_it.unfinished))
        return came_of_it

    # The same for coroutines

    async def asend_function(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """`send_function` for a coroutine."""
        return await self._send_aside(task, lambda: self.send_function(task, *args, **kwargs))

    async def asend_many(self, calls: Iterable[BoundTask[R]]) -> list[JobHandle[R]]:
        """`send_many` for a coroutine."""
        calls = list(calls)
        return await self._send_aside(calls[0].task if calls else None, lambda: self.send_many(calls))

    async def asend_map(
        self,
        task: Task[..., Any],
        items: Iterable[Any],
        *,
        reduce: Task[..., R] | None = None,
        parts: int | None = None,
    ) -> JobHandle[Any]:
        """`send_map` for a coroutine."""
        return await self._send_aside(task, lambda: self.send_map(task, items, reduce=reduce, parts=parts))

    async def _send_aside(self, task: Any, step: Callable[[], T]) -> T:
        """Where a task names a connection of the caller's the send belongs to the caller's thread."""
        if isinstance(task, Task) and task.settings.connection is not None:
            return step()
        return await self.aside(step)

    async def ajob(self, job_id: str) -> JobHandle[Any]:
        """`job` for a coroutine."""
        return await self.aside(lambda: self.job(job_id))

    async def ajobs(
        self,
        *,
        state: State | str | None = None,
        task: str | None = None,
        queue: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int = 50,
    ) -> list[JobHandle[Any]]:
        """`jobs` for a coroutine."""
        return await self.aside(partial(self.jobs, state=state, task=task, queue=queue, labels=labels, limit=limit))

    # For tests

    def run_pending(self) -> list[JobHandle[Any]]:
        """Run the jobs that wait, in this thread and on this connection, and return them as they ended.

        Without their limits: a thread could not be ended.
        """
        ids = self._run_ready(self.store)
        rows = self.store.jobs(ids)
        return [self._handle(rows[id_]) for id_ in dict.fromkeys(ids)]

    def sent(self, task: Task[..., Any] | None = None) -> list[Sent]:
        """The calls that were sent, of this task or of all, oldest first."""
        query = Query(task=self._known(task).name if task is not None else None, limit=1_000_000, newest_first=False)
        calls = [row for row in self.store.find(query) if row.kind is Kind.CALL and not row.is_forgotten]
        return [Sent(row.task, *self._arguments(row), row.id) for row in calls]

    def _arguments(self, row: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if row.task in self.registry:
            return self.registry.find(row.task).decode_arguments(row.payload)
        fields = codec.decode(row.payload)
        return tuple(fields["args"]), fields["kwargs"]

    def _run_ready(self, store: Store) -> list[str]:
        return run_ready(store, self.runner, self.settings, self._clock, self.events.announce)

    # Running

    @cached_property
    def store(self) -> Store:
        """Where the jobs are kept; opened and made ready when it is first used."""
        with self._lock:
            return prepared(self.open_store())

    @cached_property
    def worker_store(self) -> Store:
        """The store that a worker in this process uses."""
        return self.open_worker_store()

    @cached_property
    def runner(self) -> Runner:
        return self.make_runner()

    @cached_property
    def pool(self) -> ProcessPool | ThreadPool:
        """The pool for computing now, apart from the one that jobs run on: a ProcessPool.

        On a free-threaded build it is a ThreadPool, whose threads run on every core then and whose arguments do not
        travel. It raises LimitNotKept for a call with limits, and a crash of one call takes the process along: make a
        ProcessPool of your own where that matters.
        """
        with self._lock:
            if not cores.has_gil():
                return ThreadPool(self.slots, name="treadle-pool")
            initializer, initargs = self.pool_initializer()
            return ProcessPool(
                self.settings.concurrency, nice=self.settings.pool_nice, python=self.settings.python,
                initializer=initializer, initargs=initargs, preload=self.pool_preload(),
            )  # fmt: skip

    @property
    def slots(self) -> int:
        """How many child processes a worker uses."""
        return self.settings.concurrency or cores.usable_cores()

    def worker(
        self,
        *,
        concurrency: int | None = None,
        queues: Sequence[str] = (),
        kind: str = "process",
        claims_per_s: int | None = None,
        duties: tuple[Duty, ...] = (),
        drain_s: float | None = None,
        pool_sizes: Mapping[str, int] | None = None,
    ) -> Worker:
        """A worker for this application; `run()` it in the main thread of a process of its own.

        `concurrency`: child processes, `queues`: only these, in this order; both those of the settings
        where not given. `pool_sizes`: how many jobs a pool runs at once, by name, where not as the settings
        say; with 0 the worker takes no jobs of that pool. Raises SettingsError for what it cannot do,
        AppNotFound where child processes could not find the application, and what `schedule` raises.
        """
        for queue in queues:
            self._check_queue(queue)
        scheduling = self._scheduling()
        sizes = self._sizes(concurrency, pool_sizes or {})
        install, arguments = self.child_initializer()
        initializer = (install, (sizes["processes"] or 1, *arguments))
        return Worker(
            store=self.worker_store,
            runner=self.runner,
            settings=self.settings,
            make_places=lambda fds: self.make_places(sizes, initializer, fds),
            alive=self.alive,
            announce=self.events.announce,
            clock=self._clock,
            kind=kind,
            queues=tuple(queues),
            claims_per_s=claims_per_s,
            duties=(*duties, *scheduling),
            drain_s=drain_s,
        )

    def _sizes(self, concurrency: int | None, chosen: Mapping[str, int]) -> Mapping[str, int]:
        """How many jobs each pool of a worker runs at once. Raises SettingsError."""
        if concurrency is not None and concurrency < 1:
            raise SettingsError(f"concurrency must be at least 1, got {concurrency}")
        return staffing.sizes_of(self.settings, concurrency or self.slots, chosen)

    def _scheduling(self) -> tuple[Duty, ...]:
        """A worker's duty towards the schedules, if there are any."""
        schedules = self.find_schedules() if self.settings.mode is Mode.STORE else ()
        for schedule in schedules:
            self._check_schedule(schedule)
        if not schedules:
            return ()
        announce = self.events.announce
        return (Scheduling(schedules, self.worker_store, self._scheduled_job, self._clock, announce).duty(),)

    def make_places(self, sizes: Mapping[str, int], initializer: Initializer, held_fds: tuple[int, ...]) -> list[Place]:
        """The pools of a worker, with so many slots each; child processes hold these descriptors."""
        return staffing.make_places(self.settings, sizes, initializer, self.preload(), held_fds)

    @cached_property
    def alive(self) -> AliveFolder | None:
        """Where workers on this host show that they live; None where the store is this process's own."""
        folder = self.worker_store.alive_folder
        return AliveFolder(folder) if folder is not None else None

    def start_embedded(self) -> None:
        """Have this process stand for election as the embedded worker, if the settings allow; at most once."""
        with self._lock:
            if self._embedded is not None or not self.may_embed():
                return
            self._embedded = EmbeddedWorker(
                open_store=lambda: self.worker_store,
                open_alive=lambda: self.alive,
                queues=self.settings.queues,
                clock=self._clock,
                announce=self.events.announce,
                make_worker=self._embedded_worker,
            )
        self._embedded.start()

    def _embedded_worker(self, duties: tuple[Duty, ...]) -> Worker:
        rate = self.settings.embedded_claims_per_s
        return self.worker(kind="embedded", claims_per_s=rate, duties=duties)

    @property
    def is_embedding(self) -> bool:
        """Whether this process stands for election as the embedded worker."""
        return self._embedded is not None

    def may_embed(self) -> bool:
        """Whether a worker may run inside this process."""
        if current.is_child or self.settings.mode is not Mode.STORE:
            return False
        if self.settings.embedded is Embedded.AUTO and self.is_shared:
            return self.is_development_server
        return self.settings.embedded is not Embedded.NEVER

    def close(self) -> None:
        """Stop the embedded worker and the pool, and close the store's connections."""
        if self._embedded is not None:
            self._embedded.stop()
        if "pool" in self.__dict__:
            self.pool.shutdown()
        self.close_stores()

    def close_stores(self) -> None:
        """Close the store's connections."""
        for opened in {"store", "worker_store"} & self.__dict__.keys():
            self.__dict__[opened].close()

    # For the integrations

    def use_settings(self, chosen: Settings) -> None:
        """From now on; nothing that other settings have opened may be there. Raises SettingsError."""
        if chosen.database_url is not None:
            check_url(chosen.database_url)
        staffing.check_executors(chosen)
        self.settings: Settings = chosen
        self._drafts = Drafts(chosen, self._clock, self.alias, self.hooks.capture)
        self._is_findable = False

    def drafts(self, calls: Iterable[BoundTask[Any]]) -> list[Job]:
        """The rows of calls that are to be sent. Raises what `send_function` does."""
        return [self._drafts.call(self._known(call.task), call) for call in calls]

    def enqueue(self, drafts: Sequence[Job], connection: Any = None) -> list[Job]:
        """Keep new rows; gives for each the job that is kept: itself, or the unfinished one that has its unique key."""
        return self.settle(self.keep(drafts, connection), connection)

    def keep(self, drafts: Sequence[Job], connection: Any = None) -> list[Job]:
        """The first half of `enqueue`: nothing has run yet, in no mode."""
        self._check_children_find_app()
        store = self._store_of(connection)
        if self.is_shared and self.settings.mode is Mode.STORE and not self.may_embed():
            self._attendance.look(store, drafts)
        done = store.enqueue(drafts)
        if done.expired:
            self.events.announce(JobsExpired(done.expired))
        for draft in drafts:
            if draft.id not in done.stand_ins:
                self.events.announce(JobEnqueued(draft))
        return [done.stand_ins.get(draft.id, draft) for draft in drafts]

    def settle(self, jobs: list[Job], connection: Any = None) -> list[Job]:
        """The second half: the jobs as they are now, which is as they ended in the mode `immediate`."""
        if self.settings.mode is not Mode.IMMEDIATE:
            return jobs
        store = self._store_of(connection)
        self._run_ready(store)
        rows = store.jobs([job.id for job in jobs])
        return [rows[job.id] for job in jobs]

    def open_store(self) -> Store:
        """The store of the settings."""
        return open_store(self.settings.database_url or self.default_url(), self.settings)

    @property
    def is_shared(self) -> bool:
        """Whether the store is a server's, to which workers on other machines may belong."""
        return is_postgres(self.settings.database_url)

    @property
    def is_development_server(self) -> bool:
        """Whether this process is a framework's own server, which nobody starts a worker beside."""
        return False

    def default_url(self) -> str:
        """Where jobs are kept without a setting: in memory for the modes of tests."""
        return "sqlite:///treadle.sqlite3" if self.settings.mode is Mode.STORE else "memory://"

    def open_worker_store(self) -> Store:
        """The store as a worker uses it: on connections of its own."""
        return self.store

    def make_runner(self) -> Runner:
        """What runs this application's jobs."""
        return Runner(self.registry, **self.runner_options)

    @property
    def runner_options(self) -> dict[str, Any]:
        """What a Runner of this application is given."""
        chosen = self.settings
        return {
            "max_result_bytes": chosen.max_result_bytes, "notify": chosen.postgres_notify, "clock": self._clock,
            "hooks": self.hooks,
        }  # fmt: skip

    def find_schedules(self) -> Schedules:
        """The schedules, once whatever declares them was imported."""
        return self.schedules

    def child_initializer(self) -> Initializer:
        """What makes a worker's child ready. Raises AppNotFound."""
        return execution.install, (runner_of, self.target())

    def pool_initializer(self) -> tuple[Callable[..., Any] | None, tuple[Any, ...]]:
        """What makes a child of `pool` ready."""
        return None, ()

    def preload(self) -> tuple[str, ...]:
        """What a worker's children all need, imported once before they are forked: the application's module.

        Where that fails, or would make forks unsafe, each child imports it itself, and tells what is wrong.
        """
        try:
            module = importable_module(self.target())
        except AppNotFound:
            return ()
        return (module + MAY_FAIL,) if module else ()

    def pool_preload(self) -> tuple[str, ...]:
        """The same for the children of `pool`: only what this process has imported, too.

        Else a script without `if __name__ == "__main__"` would run a second time for a mere `pool.map`.
        """
        return tuple(name for name in self.preload() if is_imported(name.removesuffix(MAY_FAIL)))

    def target(self) -> str:
        """`module:name` under which a child finds this application. Raises AppNotFound."""
        target = self.settings.app or target_of(self)
        if target is None or target.startswith("__main__:"):
            raise AppNotFound(
                "no module has this application as a name, so a child process could not find it: assign it at "
                "module level, or give app='module:name'"
            )
        return target

    async def aside(self, step: Callable[[], T]) -> T:
        """Do what blocks, for a coroutine: in a thread, but inside a transaction in the thread that began it."""
        if self.store.is_in_transaction():
            return step()
        return await asyncio.to_thread(step)

    def refuse_to_wait(self) -> None:
        """Raises WouldDeadlock where to wait for a job could never end."""
        refuse_in_event_loop()
        if self.store.is_in_transaction():
            raise WouldDeadlock("this transaction has not ended, so no worker can see what was sent in it")
        if threading.get_ident() in current.loop_threads:
            raise WouldDeadlock("this job runs inline in the worker's own loop, which stands still while it waits")
        if current.is_child and execution.worker_slots() == 1:
            raise WouldDeadlock("this job holds the only slot: another job cannot end while it waits")
        if self.settings.mode is not Mode.STORE:
            raise WouldDeadlock(f"in mode {self.settings.mode} no worker runs the job; call run_pending() first")

    def transaction(self) -> AbstractContextManager[None]:
        """What is sent inside is sent together, or not at all."""
        return self.store.transaction()

    def _check_children_find_app(self) -> None:
        """The first send of a process fails if no child could run what it sends: better now than at midnight."""
        if not self._is_findable and self.settings.mode is Mode.STORE and not current.is_child:
            self.child_initializer()
        self._is_findable = True

    def _check_queue(self, queue: str) -> None:
        if self.settings.queues and queue not in self.settings.queues:
            raise SettingsError(f"unknown queue {queue!r}{suggestion(queue, self.settings.queues)}")


def prepared(store: Store) -> Store:
    """The store, made ready; closed where it cannot be."""
    try:
        store.prepare()
    except BaseException:
        store.close()
        raise
    return store


def runner_of(target: str) -> Runner:
    """The runner of an application, in a child. Raises AppNotFound."""
    app = load_target(target)
    if not isinstance(app, Treadle):
        raise AppNotFound(f"{target} is a {type(app).__name__}, not a Treadle application")
    return app.runner
