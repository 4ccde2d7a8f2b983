"""The measured pools, each with the same verbs, used as its own documentation shows it and with its defaults.

An adapter imports its library when it is made, so that a process that measures one has loaded no other.
"""

import logging
import multiprocessing
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class NoVerb(Exception):
    """Raised where a library has no such thing: an empty cell, never an imitation."""


TIMEOUTS = (TimeoutError, multiprocessing.TimeoutError)


@dataclass
class Aftermath:
    """What is known of some calls when the time is over."""

    results: list[Any] = field(default_factory=list)
    endless: int = 0
    """Calls that have neither a result nor an error."""


class Peer(ABC):
    """One library's pool of processes. Making it starts it."""

    distributions: ClassVar[tuple[str, ...]] = ()
    """What its version is made of; empty for the standard library."""
    notes: ClassVar[str] = ""
    is_contest: ClassVar[bool] = True
    """False for what isolates nothing, and is there for orientation only."""
    samples: ClassVar[int] = 2_000
    """Round trips of one repetition; these three are fewer where the library is slow."""
    submits: ClassVar[int] = 20_000
    items: ClassVar[int] = 1_000_000
    """Of a map."""

    @abstractmethod
    def __init__(self, workers: int) -> None: ...

    @abstractmethod
    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Start a call, and give what `result` takes. Raises NoVerb."""

    @abstractmethod
    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """All results, in order, with the chunks that the library chooses."""

    @abstractmethod
    def close(self) -> None:
        """End what it started."""

    def result(self, call: Any, timeout_s: float | None = None) -> Any:
        """The result of a call, or its error, or one of any kind when the time is over."""
        return call.result(timeout_s)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """One call and its result."""
        return self.result(self.submit(function, *args))

    def run_each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """A call for each item, all submitted before the first result is looked at. Raises NoVerb."""
        calls = [self.submit(function, item) for item in items]
        return [self.result(call) for call in calls]

    def aftermath(self, calls: Sequence[Call], within_s: float) -> "Aftermath":
        """What becomes of calls of which one kills its process."""
        deadline_s = time.monotonic() + within_s
        aftermath = Aftermath()
        for call in list(self._submitted(calls)):
            self._await(call, deadline_s, aftermath)
        return aftermath

    def _submitted(self, calls: Sequence[Call]) -> Iterator[Any]:
        for function, args in calls:
            # A pool that has noticed the death by now refuses the rest: no result either.
            try:
                yield self.submit(function, *args)
            except Exception:
                return

    def _await(self, call: Any, deadline_s: float, aftermath: "Aftermath") -> None:
        try:
            aftermath.results.append(self.result(call, max(0.01, deadline_s - time.monotonic())))
        except TIMEOUTS:
            aftermath.endless += 1
        except Exception:
            # Whatever a library raises for a call that failed: no result.
            return

    def share(self, array: Any) -> Any:
        """What stands for the array in any number of calls. Raises NoVerb."""
        raise NoVerb(f"{type(self).__name__} has no way to share an array")


class Treadle(Peer):
    """Ours."""

    distributions = ("treadle",)
    notes = "all defaults; its children run at niceness 10"

    def __init__(self, workers: int) -> None:
        from treadle import ProcessPool

        self._pool: Any = ProcessPool(max_workers=workers)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.submit(function, *args)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items))

    def share(self, array: Any) -> Any:
        if not hasattr(self._pool, "share"):
            raise NoVerb("this Treadle has no ProcessPool.share yet")
        return self._pool.share(array)

    def close(self) -> None:
        self._pool.shutdown()


class Executor(Peer):
    """concurrent.futures.ProcessPoolExecutor."""

    # A chunk of its map is one item, unless it is told otherwise.
    items = 20_000

    def __init__(self, workers: int) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self._pool: Any = ProcessPoolExecutor(workers)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.submit(function, *args)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items))

    def close(self) -> None:
        self._pool.shutdown()


class Loky(Executor):
    """Its reusable executor."""

    distributions = ("loky",)

    def __init__(self, workers: int) -> None:
        from loky import get_reusable_executor

        self._pool = get_reusable_executor(max_workers=workers)


class Threads(Executor):
    """concurrent.futures.ThreadPoolExecutor: what a call costs where nothing is isolated."""

    notes = "for orientation: one process, no isolation, no contest"
    is_contest = False

    def __init__(self, workers: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(workers)


class MpPool(Peer):
    """multiprocessing.Pool."""

    def __init__(self, workers: int) -> None:
        self._pool = multiprocessing.Pool(workers)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.apply_async(function, args)

    def result(self, call: Any, timeout_s: float | None = None) -> Any:
        return call.get(timeout_s)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, items)

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class Pebble(Peer):
    """pebble.ProcessPool."""

    distributions = ("pebble",)
    items = 20_000

    def __init__(self, workers: int) -> None:
        from pebble import ProcessPool

        self._pool: Any = ProcessPool(max_workers=workers)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.schedule(function, args=args)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items).result())

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()


class Mpire(Peer):
    """mpire.WorkerPool."""

    distributions = ("mpire",)
    notes = "keep_alive=True, without which it starts its processes for each map"

    def __init__(self, workers: int) -> None:
        from mpire.pool import WorkerPool

        self._pool: Any = WorkerPool(n_jobs=workers, keep_alive=True)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.apply_async(function, args)

    def result(self, call: Any, timeout_s: float | None = None) -> Any:
        return call.get(timeout_s)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items))

    def close(self) -> None:
        self._pool.terminate()


class Joblib(Peer):
    """joblib.Parallel on loky: no futures, so one call is a Parallel of one."""

    distributions = ("joblib",)
    notes = "backend loky; a round trip is a Parallel of one call; an array that it saw before is a memory map"
    samples = 100
    items = 200_000

    def __init__(self, workers: int) -> None:
        from joblib import Parallel, delayed

        self._workers, self._delayed, self._make = workers, delayed, Parallel
        self._parallel = Parallel(n_jobs=workers).__enter__()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        raise NoVerb("joblib has no submit")

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._parallel([self._delayed(function)(*args)])[0]

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._parallel(self._delayed(function)(item) for item in items))

    def aftermath(self, calls: Sequence[Call], within_s: float) -> Aftermath:
        parallel = self._make(n_jobs=self._workers, return_as="generator_unordered", timeout=within_s)
        aftermath = Aftermath()
        try:
            # What comes before the error is in the list, and counts.
            aftermath.results.extend(parallel(self._delayed(function)(*args) for function, args in calls))
        except TIMEOUTS:
            aftermath.endless = len(calls) - len(aftermath.results)
        except Exception:
            return aftermath
        return aftermath

    def share(self, array: Any) -> Any:
        # Maps arrays over 1 MB into its children by itself, from a file that it keeps as long as the array lives.
        return array

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)


class Dask(Peer):
    """A distributed.LocalCluster of processes."""

    distributions = ("distributed",)
    notes = "LocalCluster of processes with one thread each, pure=False"
    samples = 100
    submits = 2_000
    items = 2_000

    def __init__(self, workers: int) -> None:
        from distributed import Client, LocalCluster

        # It advises against large arguments: that is what is measured.
        warnings.filterwarnings("ignore", message="Sending large graph")
        make_cluster: Any = LocalCluster
        make_client: Any = Client
        self._cluster = make_cluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
        self._client = make_client(self._cluster)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(function, *args, pure=False)

    def run_each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._client.gather([self.submit(function, item) for item in items]))

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._client.gather(self._client.map(function, items, pure=False)))

    def share(self, array: Any) -> Any:
        return self._client.scatter(array, broadcast=True)

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


class Ray(Peer):
    """Ray's tasks, on one machine."""

    distributions = ("ray",)
    notes = "a local cluster, no dashboard"
    samples = 500
    submits = 2_000
    items = 2_000

    def __init__(self, workers: int) -> None:
        import ray

        self._ray = ray
        self._remotes: dict[Callable[..., Any], Any] = {}
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        if function not in self._remotes:
            self._remotes[function] = self._ray.remote(function)
        return self._remotes[function].remote(*args)

    def result(self, call: Any, timeout_s: float | None = None) -> Any:
        return self._ray.get(call, timeout=timeout_s)

    def run_each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self._ray.get([self.submit(function, item) for item in items]))

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return self.run_each(function, items)

    def share(self, array: Any) -> Any:
        return self._ray.put(array)

    def close(self) -> None:
        self._ray.shutdown()


PEERS: dict[str, type[Peer]] = {
    "Treadle": Treadle,
    "ProcessPoolExecutor": Executor,
    "mp.Pool": MpPool,
    "loky": Loky,
    "pebble": Pebble,
    "mpire": Mpire,
    "joblib": Joblib,
    "Dask": Dask,
    "Ray": Ray,
    "threads": Threads,
}


def versions(name: str) -> str:
    """Of what the library is made of, as text. Raises PackageNotFoundError where it is not installed."""
    parts = [f"{part} {version(part)}" for part in PEERS[name].distributions]
    return ", ".join(parts) or "of the standard library"


def is_installed(name: str) -> bool:
    """Whether it can be measured here."""
    try:
        return bool(versions(name))
    except PackageNotFoundError:
        return False
