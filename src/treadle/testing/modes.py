"""Another mode for an application that is already made, for the length of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from treadle import settings
from treadle.app import Treadle
from treadle.errors import ConfigurationError
from treadle.settings import Embedded, Mode, Settings

T = TypeVar("T", bound=Treadle)

OPENED = ("store", "worker_store", "runner", "alive")
"""What was made by the settings in force. The pool for computing now is the same in all modes, and costs much to start."""


@contextmanager
def in_mode(app: T, mode: Mode | str = Mode.COLLECT, **changes: Any) -> Iterator[T]:
    """While the block lasts, have this application send in another mode; gives the application.

    `immediate` runs jobs inside the send; `collect` keeps them for `sent()` and `run_pending()`; `store` keeps them as
    for a worker. They are kept in memory that is empty at first and gone in the end, unless `database_url` is given;
    the store of the application's own settings is not touched. `changes` are other settings. Blocks may be nested.

    It holds for every thread of this process. No embedded worker is started meanwhile. Raises SettingsError for an
    unknown setting or a wrong value, ConfigurationError where an embedded worker runs in this process.
    """
    if app.is_embedding:
        raise ConfigurationError(
            "a worker runs in this process: set embedded to 'never', so that the test runs its jobs"
        )
    outer = {name: app.__dict__[name] for name in OPENED if name in app.__dict__}
    outer_settings = app.settings
    _use(app, _changed(outer_settings, mode, changes), {})
    try:
        yield app
    finally:
        app.close_stores()
        _use(app, outer_settings, outer)


def _changed(outer: Settings, mode: Mode | str, changes: dict[str, Any]) -> Settings:
    options = {name: getattr(outer, name) for name in outer.__struct_fields__}
    return settings.make({**options, "database_url": "memory://", "embedded": Embedded.NEVER, **changes, "mode": mode})


def _use(app: Treadle, chosen: Settings, opened: dict[str, Any]) -> None:
    app.use_settings(chosen)
    for name in OPENED:
        app.__dict__.pop(name, None)
    app.__dict__.update(opened)
