"""The extension: one object, any number of applications; what belongs to one is kept in its `extensions`."""

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from flask import Flask, Response, current_app, request_started
from markupsafe import Markup

from flask_worker.blueprint import asked, asset_url, make_blueprint, place, respond
from flask_worker.cli import worker_commands
from flask_worker.context import EXTENSION, FlaskTreadle, treadle_of
from flask_worker.owners import owner
from treadle.app import Sent, Treadle
from treadle.around import Around, H
from treadle.errors import ConfigurationError, NotATask
from treadle.handle import JobHandle
from treadle.pools.processes import ProcessPool
from treadle.pools.threads import ThreadPool
from treadle.schedule import CatchUp, Schedule, Schedules, make_schedule
from treadle.settings import Mode
from treadle.states import State
from treadle.store.contract import Forgotten
from treadle.task import BoundTask, Registry, Task
from treadle.testing.modes import in_mode
from treadle.web import pages, resources
from treadle.web.links import SCOPES, Scope, scopes_of
from treadle.worker.embedded import stop_on_sigterm

P = ParamSpec("P")
R = TypeVar("R")


class FlaskWorker:
    """`FlaskWorker(app)`, or `FlaskWorker()` and `init_app(app)` in a factory.

    The verbs work on the current application; outside of an application context they raise Flask's
    RuntimeError.
    """

    def __init__(self, app: Flask | None = None, *, identify: Callable[[], Any] | None = None) -> None:
        """`identify`: who makes the current request, or None, as `lambda: current_user.get_id()`; for links that are
        bound to a user, and not to a session.
        """
        self._identify = identify
        self._registry = Registry()
        self._schedules = Schedules()
        self._hooks = Around()
        self.task = self._registry.task
        self.blueprint = make_blueprint()
        """The routes, for a site that sets WORKER_URL_PREFIX to None and registers them itself."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the application's `WORKER_` settings and add the routes and the commands; opens nothing.

        Raises SettingsError for a wrong setting, ConfigurationError where it was called for this
        application before, ValueError where the application has another blueprint named `worker`.
        """
        if not isinstance(app, Flask):
            # As Quart, whose current application is another than Flask's.
            raise ConfigurationError(
                f"{type(app).__name__} is not Flask: give FlaskWorker a flask.Flask; in an application of another "
                "framework use treadle.Treadle, whose verbs are the same"
            )
        if EXTENSION in app.extensions:
            raise ConfigurationError(f"{app.name} has a FlaskWorker already; call init_app once for each application")
        treadle = FlaskTreadle(
            app, self._registry, schedules=self._schedules, hooks=self._hooks, identify=self._identify
        )
        if treadle.settings.url_prefix is not None:
            app.register_blueprint(self.blueprint, url_prefix=treadle.settings.url_prefix)
        # Only now: an application that was refused may be tried again.
        app.extensions[EXTENSION] = treadle
        app.context_processor(lambda: {"worker": self})
        app.cli.add_command(worker_commands)
        # A process that serves requests may run the embedded worker; a shell or a command never does.
        request_started.connect(_start_embedded, app)
        if treadle.may_embed():
            stop_on_sigterm()

    # Sending

    def send_function(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Send one call; see `treadle.Treadle.send_function`."""
        return _treadle().send_function(task, *args, **kwargs)

    def send_many(self, calls: Iterable[BoundTask[R]]) -> list[JobHandle[R]]:
        """Send many calls in one transaction; see `treadle.Treadle.send_many`."""
        return _treadle().send_many(calls)

    def send_map(
        self,
        task: Task[..., Any],
        items: Iterable[Any],
        *,
        reduce: Task[..., Any] | None = None,
        parts: int | None = None,
    ) -> JobHandle[Any]:
        """Send `task(item)` for each item as one job; see `treadle.Treadle.send_map`."""
        return _treadle().send_map(task, items, reduce=reduce, parts=parts)

    def schedule(
        self,
        cron: str,
        call: BoundTask[Any] | Task[[], Any],
        *,
        timezone: str = "UTC",
        catch_up: CatchUp = "once",
        name: str | None = None,
    ) -> Schedule:
        """Have workers send a call again and again; works before any app exists; see `treadle.Treadle.schedule`.

        Of what depends on settings (whether there is such a queue) a worker makes sure when it starts.
        """
        schedule = make_schedule(cron, call, timezone=timezone, catch_up=catch_up, name=name)
        if not self._registry.knows(schedule.call.task):
            raise NotATask(f"{schedule.call.task.name} is a task of another FlaskWorker; schedule it with that one")
        return self._schedules.add(schedule)

    def around(self, hook: H) -> H:
        """Add a hook around jobs, `@worker.around class Tenant: …`; works before any app exists; see `treadle.Treadle.around`.

        It captures in the context of the sender, and is entered in the application context of its job. It is around the
        jobs of every application that this FlaskWorker serves.
        """
        return self._hooks.add(hook)

    async def asend_function(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """`send_function` for a coroutine."""
        return await _treadle().asend_function(task, *args, **kwargs)

    async def asend_many(self, calls: Iterable[BoundTask[R]]) -> list[JobHandle[R]]:
        """`send_many` for a coroutine."""
        return await _treadle().asend_many(calls)

    async def asend_map(
        self,
        task: Task[..., Any],
        items: Iterable[Any],
        *,
        reduce: Task[..., Any] | None = None,
        parts: int | None = None,
    ) -> JobHandle[Any]:
        """`send_map` for a coroutine."""
        return await _treadle().asend_map(task, items, reduce=reduce, parts=parts)

    # Looking

    def job(self, job_id: str) -> JobHandle[Any]:
        """The job with this id. Raises JobNotFound."""
        return _treadle().job(job_id)

    def jobs(
        self,
        *,
        state: State | str | None = None,
        task: str | None = None,
        queue: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int = 50,
    ) -> list[JobHandle[Any]]:
        """The newest jobs that fit; see `treadle.Treadle.jobs`."""
        return _treadle().jobs(state=state, task=task, queue=queue, labels=labels, limit=limit)

    async def ajob(self, job_id: str) -> JobHandle[Any]:
        """`job` for a coroutine."""
        return await _treadle().ajob(job_id)

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
        return await _treadle().ajobs(state=state, task=task, queue=queue, labels=labels, limit=limit)

    # Keeping

    def pause(self, *queues: str) -> None:
        """Have no worker take jobs of these queues until `resume`; see `treadle.Treadle.pause`."""
        _treadle().pause(*queues)

    def resume(self, *queues: str) -> None:
        """Have the jobs of these queues taken again."""
        _treadle().resume(*queues)

    def forget(self, *, labels: dict[str, str]) -> Forgotten:
        """Blank the finished jobs that have all these labels; see `Treadle.forget`."""
        return _treadle().forget(labels=labels)

    def paused(self) -> dict[str, datetime]:
        """The queues that are paused, and since when."""
        return _treadle().paused()

    @property
    def pool(self) -> ProcessPool | ThreadPool:
        """The pool for computing now, on every core: `worker.pool.map(f, xs)`; see `treadle.Treadle.pool`."""
        return _treadle().pool

    # Answering

    def urls(
        self,
        job: JobHandle[Any],
        scopes: Collection[Scope] = SCOPES,
        *,
        bound: bool = False,
        expires_in_s: float | None = None,
    ) -> dict[str, str]:
        """Signed links to a job, each of which opens nothing else: `status` and `events`, `result`, `cancel`.

        `bound`: they are good only for who makes this request: the user, where `identify` names one, else the session.
        `expires_in_s`: sooner than the setting WORKER_LINK_MAX_AGE_S.
        """
        links, whose = _treadle().links, owner() if bound else None
        return resources.urls_of(job.id, links, place, scopes, owner=whose, expires_in_s=expires_in_s)

    def accepted(
        self,
        job: JobHandle[Any],
        scopes: Collection[Scope] = SCOPES,
        *,
        bound: bool = False,
        expires_in_s: float | None = None,
    ) -> Response:
        """What a view that sent a job returns: 202 with the links to it; a browser's form is led to a page that waits.

        What the links and the page allow is in `scopes`; `read` is in any case. See `urls`.
        """
        chosen: set[Scope] = {"read", *scopes}
        if asked().wants_page:
            link = _link(job, chosen, bound=bound, expires_in_s=expires_in_s)
            return respond(resources.see_other(link))
        return respond(resources.accepted(job, self.urls(job, chosen, bound=bound, expires_in_s=expires_in_s)))

    def progress(
        self,
        job: JobHandle[Any],
        *,
        cancel: bool = False,
        result: bool = False,
        bound: bool = False,
        expires_in_s: float | None = None,
        nonce: str | None = None,
        **attributes: Any,
    ) -> Markup:
        """`{{ worker.progress(job) }}` in a template: the element that follows the job, and its script.

        `cancel`, `result`: with a button to cancel it, with a link to what it returned. `nonce`: for a
        Content-Security-Policy that asks for one. Others are attributes of the element: `label`, `messages`, `lang`,
        `class_`. For `bound` and `expires_in_s` see `urls`.
        """
        scopes = scopes_of(cancel=cancel, result=result)
        link = _link(job, scopes, bound=bound, expires_in_s=expires_in_s)
        given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        # Everything in it is escaped.
        return Markup(pages.tag(link, asset_url("job-progress.js"), given, nonce))  # noqa: S704

    # For tests

    def run_pending(self) -> list[JobHandle[Any]]:
        """Run the jobs that wait, in this thread, and return them as they ended."""
        return _treadle().run_pending()

    def sent(self, task: Task[..., Any] | None = None) -> list[Sent]:
        """The calls that were sent, of this task or of all, oldest first."""
        return _treadle().sent(task)

    def testing(
        self, app: Flask | None = None, *, mode: Mode | str = Mode.COLLECT, **settings: Any
    ) -> AbstractContextManager[Treadle]:
        """Another WORKER_MODE while a block lasts, for an application that is already made, with a memory for its jobs.

        `with worker.testing(app) as jobs:` gives what has `jobs.sent()` and `jobs.run_pending()`, which need no
        application context. `app` is the current application where not given; `settings` are others, by their names
        in lower case without the prefix. See `treadle.testing.in_mode`, and `flask_worker.testing` for pytest.
        """
        return in_mode(treadle_of(app or current_app), mode, **settings)

    # For servers

    def start_embedded(self, server_worker: Any = None) -> None:
        """Stand for election as the embedded worker now, not with the first request.

        For gunicorn's configuration: `post_worker_init = worker.start_embedded`.
        """
        app = getattr(server_worker, "wsgi", None) or current_app
        treadle = app.extensions[EXTENSION]
        treadle.start_embedded()


def _treadle() -> FlaskTreadle:
    return treadle_of(current_app)


def _link(job: JobHandle[Any], scopes: Collection[Scope], *, bound: bool, expires_in_s: float | None) -> str:
    """One link that allows all of this, for a page."""
    whose = owner() if bound else None
    token = _treadle().links.token(job.id, *sorted(scopes), owner=whose, expires_in_s=expires_in_s)
    return place("status", token)


def _start_embedded(app: Flask, **extra: Any) -> None:
    request_started.disconnect(_start_embedded, app)
    app.extensions[EXTENSION].start_embedded()
