"""A Flask application as Treadle sees it: its store, its child processes, and the context of its jobs."""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import click
from flask import Flask
from flask.cli import ScriptInfo
from itsdangerous import BadData, URLSafeTimedSerializer

from flask_worker import signals
from treadle import settings
from treadle.app import Treadle
from treadle.around import Around
from treadle.clock import Clock
from treadle.errors import AppNotFound, ConfigurationError, SettingsError
from treadle.locate import target_of
from treadle.schedule import Schedules
from treadle.settings import Embedded
from treadle.staffing import Initializer
from treadle.store.contract import Store
from treadle.task import Registry, Task
from treadle.web.links import SALT, Links
from treadle.web.pace import Pace
from treadle.worker import execution
from treadle.worker.execution import Runner, Work

EXTENSION = "worker"
PREFIX = "WORKER_"


class FlaskRunner(Runner):
    """Runs each job inside a fresh application context."""

    def __init__(self, app: Flask, registry: Registry, **options: Any) -> None:
        super().__init__(registry, **options)
        self._app = app

    def surroundings(self, task: Task[Any, Any], work: Work) -> AbstractContextManager[Any]:
        return self._app.app_context()


class FlaskTreadle(Treadle):
    """The Treadle of one Flask application, kept in `app.extensions`."""

    def __init__(
        self,
        app: Flask,
        registry: Registry,
        clock: Clock | None = None,
        schedules: Schedules | None = None,
        hooks: Around | None = None,
        identify: Callable[[], Any] | None = None,
    ) -> None:
        """Raises SettingsError for an unknown `WORKER_` key, or a wrong value."""
        self._app = app
        self._given_target, self._discovered_target = _targets_of_command()
        chosen = self._chosen = settings.load(app.config, prefix=PREFIX)
        values = {name: getattr(chosen, name) for name in chosen.__struct_fields__}
        super().__init__(registry=registry, schedules=schedules, hooks=hooks, clock=clock, **values)
        self.links = Links(FlaskSigner(self), self.settings.link_max_age_s, self._clock)
        self.pace = Pace(self._clock)
        self.identify = identify or _nobody
        self.events.subscribe(partial(signals.tell, app, self._handle))

    def now_us(self) -> int:
        return self._clock.now_us()

    def open_store(self) -> Store:
        if settings.load(self._app.config, prefix=PREFIX) != self._chosen:
            raise SettingsError(
                "a WORKER_ setting was changed after FlaskWorker had read them: set them before FlaskWorker(app) or "
                "init_app(app), and in a test use `with worker.testing(app, mode=…):`"
            )
        return super().open_store()

    def default_url(self) -> str:
        if super().default_url() == "memory://":
            return "memory://"
        folder = Path(self._app.instance_path)
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'treadle.sqlite3'}"

    def make_runner(self) -> Runner:
        return FlaskRunner(self._app, self.registry, **self.runner_options)

    def child_initializer(self) -> Initializer:
        return execution.install, (runner_of, self.target())

    def target(self) -> str:
        target = self.settings.app or self._given_target or target_of(self._app) or self._discovered_target
        if target is None or target.startswith("__main__:"):
            raise AppNotFound(
                "no module has this Flask application as a name, so a child process could not build it: set "
                'WORKER_APP, for example WORKER_APP = "package.module:create_app()"'
            )
        return target

    def may_embed(self) -> bool:
        if not super().may_embed():
            return False
        return self.settings.embedded is Embedded.ALWAYS or not (self._app.testing or "pytest" in sys.modules)

    @property
    def is_development_server(self) -> bool:
        return os.environ.get("FLASK_RUN_FROM_CLI") == "true"

    def _check_children_find_app(self) -> None:
        if not self._app.testing:
            super()._check_children_find_app()


class FlaskSigner:
    """itsdangerous with the application's key; without one, with a key that is kept in the store."""

    def __init__(self, treadle: FlaskTreadle) -> None:
        self._treadle = treadle
        self._has_warned = False

    def sign(self, value: dict[str, Any]) -> str:
        return str(self._serializer().dumps(value))

    def unsign(self, token: str, max_age_s: float) -> Any:
        try:
            return self._serializer().loads(token, max_age=int(max_age_s))
        except BadData:
            return None

    def _serializer(self) -> URLSafeTimedSerializer:
        app = self._treadle._app
        keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]
        if not app.secret_key:
            self._warn(app)
            keys = [self._treadle.store.secret()]
        return URLSafeTimedSerializer(keys, salt=SALT)

    def _warn(self, app: Flask) -> None:
        if not self._has_warned and not app.debug and not app.testing:
            self._has_warned = True
            warnings.warn(
                "SECRET_KEY is not set; links to jobs are signed with a random key kept in Treadle's store",
                stacklevel=2,
            )


def treadle_of(app: Flask) -> FlaskTreadle:
    """The Treadle of an application. Raises ConfigurationError where it has none."""
    treadle = app.extensions.get(EXTENSION)
    if not isinstance(treadle, FlaskTreadle):
        raise ConfigurationError(f"{app.name} has no FlaskWorker: call worker.init_app(app)")
    return treadle


def _nobody() -> None:
    return None


def runner_of(target: str) -> Runner:
    """The runner of a Flask application, built from its target in a child. Raises AppNotFound."""
    try:
        app = ScriptInfo(app_import_path=target).load_app()
    except click.UsageError as error:
        raise AppNotFound(f"the application {target!r} cannot be built: {error.format_message()}") from error
    try:
        return treadle_of(app).runner
    except ConfigurationError as error:
        raise AppNotFound(f"the application {target!r} cannot be used: {error}") from None


def _targets_of_command() -> tuple[str | None, str | None]:
    """What `flask --app …` was given, and the file that `flask` found by itself, where this is that command."""
    command = click.get_current_context(silent=True)
    script = command.find_object(ScriptInfo) if command else None
    if script is None:
        return None, None
    discovered = next((name for name in ("wsgi.py", "app.py") if Path(name).exists()), None)
    return script.app_import_path, discovered
