"""The pools of a worker, as the settings want them."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

from treadle.errors import SettingsError, suggestion
from treadle.locate import load_target
from treadle.pools.contract import Pool
from treadle.pools.coroutines import CoroutinePool
from treadle.pools.executor import ExecutorPool
from treadle.pools.inline import InlinePool
from treadle.pools.processes import ProcessPool
from treadle.pools.threads import ThreadPool
from treadle.settings import Settings
from treadle.task import POOLS
from treadle.worker.places import Place

Initializer = tuple[Callable[..., Any], tuple[Any, ...]]


def sizes_of(settings: Settings, processes: int, changes: Mapping[str, int]) -> dict[str, int]:
    """How many jobs each pool of a worker runs at once. Raises SettingsError for a change that cannot be."""
    sizes = {
        "processes": processes,
        "threads": settings.threads,
        "coroutines": settings.coroutines,
        "inline": 1,
        **{name: settings.executor_slots.get(name, 1) for name in settings.executors},
    }
    for name, size in changes.items():
        if name not in sizes:
            raise SettingsError(f"unknown pool {name!r}{suggestion(name, sizes)}")
        if size < 0 or (name == "inline" and size > 1):
            raise SettingsError(f"pool {name!r} cannot run {size} jobs at once")
    return {**sizes, **changes}


def make_places(
    settings: Settings,
    sizes: Mapping[str, int],
    initializer: Initializer,
    preload: tuple[str, ...],
    held_fds: tuple[int, ...],
) -> list[Place]:
    """A place for each pool that has slots; the pool itself is made when it is first needed."""

    def processes() -> ProcessPool:
        return ProcessPool(
            sizes["processes"], nice=settings.job_nice, python=settings.python,
            initializer=initializer[0], initargs=initializer[1], preload=preload, held_fds=held_fds,
            **recycling(settings),
        )  # fmt: skip

    makers: dict[str, Callable[[], Pool]] = {
        "processes": processes,
        # Twice as many: a slot whose thread is stuck is given to another one.
        "threads": lambda: ThreadPool(2 * sizes["threads"], name="treadle-job"),
        "coroutines": lambda: CoroutinePool(sizes["coroutines"]),
        "inline": InlinePool,
        **{
            name: partial(ExecutorPool, partial(executor_of, given), initializer)
            for name, given in settings.executors.items()
        },
    }
    return [Place(name, sizes[name], make) for name, make in makers.items() if sizes[name]]


def recycling(settings: Settings) -> dict[str, Any]:
    """When a worker's children are replaced, as ProcessPool takes it; without what is not set."""
    chosen = {name: getattr(settings, name) for name in ("recycle_after_tasks", "recycle_over_rss_mb")}
    return {name: value for name, value in chosen.items() if value is not None}


def check_executors(settings: Settings) -> None:
    """Raises SettingsError where the user's executors cannot be told from the pools of every worker."""
    taken = sorted({*POOLS} & {*settings.executors})
    if taken:
        raise SettingsError(f"setting executors: {taken[0]!r} is a pool of every worker; choose another name")
    for name in settings.executor_slots.keys() - settings.executors.keys():
        raise SettingsError(f"setting executor_slots: unknown name {name!r}{suggestion(name, settings.executors)}")


def executor_of(given: Any) -> Executor:
    """The executor that a setting means. Raises SettingsError."""
    found = load_target(given) if isinstance(given, str) else given
    made = found() if callable(found) and not isinstance(found, Executor) else found
    if not isinstance(made, Executor):
        raise SettingsError(f"setting executors: {given!r} gives {made!r}, which is no concurrent.futures.Executor")
    return made
