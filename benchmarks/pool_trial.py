"""Measures one pool, in a process and a folder of its own. `python -m benchmarks.pool_trial NAME VERB OPTIONS`.

VERB is `timings`, `killed` or `owner`; OPTIONS are those of `benchmarks.pool_trial.Options` as JSON. The answer goes
into a file, since children that outlive this process would hold a pipe open. A result that is not what it should be
ends it with an error: there is no figure of a wrong answer.
"""

import gc
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import pool_tasks as tasks
from benchmarks.pool_peers import PEERS, Call, NoVerb, Peer, Threads

ANSWER, BUSY = "answer.json", "busy"
"""What it leaves in its folder."""
START_WITHIN_S = 60.0
OTHERS = 20
"""Calls beside the one that is killed."""
NAP_S, DEATH_AFTER_S = 0.05, 0.03
"""A neighbour of the killed call is surely running then, and others wait."""


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    workers: int = 2
    scale: float = 1.0
    """Of the counts that each library's adapter names."""
    array_mb: int = 100
    array_warm_calls: int = 2
    """Before it is measured: buffers are there then, where a library keeps any."""
    array_samples: int = 5
    parts: int = 8
    """Equal calls of the speed-up."""
    part_s: float = 0.25
    deadline_s: float = 10.0
    """After a kill: several times what the slowest library that recovers needs, which is Dask with 3.5 s."""

    def count(self, full: int) -> int:
        return max(10, round(full * self.scale))


class WrongResult(Exception):
    """Raised where a pool gave something else than the function does."""


def main(name: str, verb: str, options: str) -> None:
    verbs: dict[str, Callable[[Peer, Options], Any]] = {"timings": timings, "killed": killed, "owner": owner}
    chosen = Options(**json.loads(options))
    peer = PEERS[name](chosen.workers)
    _warm(peer, chosen.workers)
    _answer(verbs[verb](peer, chosen))
    if verb == "killed":
        # A pool that has lost a child may never close; whoever started us ends what is left.
        os._exit(0)
    peer.close()


def _answer(value: Any) -> None:
    Path("draft").write_text(json.dumps(value))
    # Whoever waits for the answer sees all of it.
    Path("draft").rename(ANSWER)


def _warm(peer: Peer, workers: int) -> None:
    """Wait until every child has run something."""
    if isinstance(peer, Threads):
        return
    deadline_s = time.monotonic() + START_WITHIN_S
    while len(pids := set(peer.map(tasks.pid_after, [NAP_S] * 2 * workers))) < workers:
        if time.monotonic() > deadline_s:
            raise WrongResult(f"{len(pids)} of {workers} children work after {START_WITHIN_S} s")


# Time


def timings(peer: Peer, options: Options) -> dict[str, float | None]:
    """Every figure that is a time or a rate, None where the library has no such verb."""
    rows: Mapping[str, Callable[[Peer, Options], float]] = {
        "round_trip_us": round_trip_us,
        "submits_per_s": submits_per_s,
        "items_per_s": items_per_s,
        "speed_up": speed_up,
        "array_ms": array_ms,
        "shared_array_ms": shared_array_ms,
    }
    return {key: _or_none(row, peer, options) for key, row in rows.items()}


def _or_none(row: Callable[[Peer, Options], float], peer: Peer, options: Options) -> float | None:
    gc.collect()
    try:
        return row(peer, options)
    except NoVerb:
        return None


def round_trip_us(peer: Peer, options: Options) -> float:
    """One call and its result, one after the other; the median in microseconds."""
    spent_ns = []
    for value in range(options.count(peer.samples)):
        started_ns = time.perf_counter_ns()
        result = peer.run(tasks.echo, value)
        spent_ns.append(time.perf_counter_ns() - started_ns)
        _check(result, value)
    return median(spent_ns) / 1e3


def submits_per_s(peer: Peer, options: Options) -> float:
    """Calls a second, from the first submit to the last result."""
    values = list(range(options.count(peer.submits)))
    with _timed() as spent:
        results = peer.run_each(tasks.echo, values)
    _check(results, values)
    return len(values) / spent.s


def items_per_s(peer: Peer, options: Options) -> float:
    """Items of one map a second, until the last result is in a list."""
    items = list(range(options.count(peer.items)))
    with _timed() as spent:
        results = peer.map(tasks.negate, items)
    _check(results, [-item for item in items])
    return len(items) / spent.s


def speed_up(peer: Peer, options: Options) -> float:
    """How many times quicker than in this process; half of that is measured before and half after."""
    steps = _steps_of(options.part_s)
    halves = options.parts // 2
    before_s, expected = _serial_s(steps, halves)
    with _timed() as spent:
        results = peer.map(tasks.spin, [steps] * options.parts)
    after_s, _ = _serial_s(steps, options.parts - halves)
    _check(results, [expected] * options.parts)
    return (before_s + after_s) / spent.s


def _steps_of(seconds: float) -> int:
    trial = 200_000
    with _timed() as spent:
        tasks.spin(trial)
    return round(trial * seconds / spent.s)


def _serial_s(steps: int, parts: int) -> tuple[float, int]:
    with _timed() as spent:
        results = [tasks.spin(steps) for _ in range(parts)]
    return spent.s, results[0]


def array_ms(peer: Peer, options: Options) -> float:
    """What it takes longer to sum an array in a child than here, in milliseconds; a new array each time."""
    over_ms = []
    for number in range(options.array_warm_calls + options.array_samples):
        array = _array(options.array_mb, number)
        over_ms.append(_over_local_ms(peer, array, array))
    return median(over_ms[options.array_warm_calls :])


def shared_array_ms(peer: Peer, options: Options) -> float:
    """The same with an array that was shared before, however long that took; here it is summed in such memory too."""
    array = _in_shared_memory(_array(options.array_mb, 0))
    shared = peer.share(array)
    over_ms = [_over_local_ms(peer, array, shared) for _ in range(options.array_warm_calls + options.array_samples)]
    return median(over_ms[options.array_warm_calls :])


def _in_shared_memory(array: Any) -> Any:
    """The array where the kernel has no huge pages for it: that costs a sum 1 ms in 100 MB, wherever it runs."""
    import numpy as np

    copy = np.frombuffer(mmap.mmap(-1, array.nbytes), dtype=array.dtype)
    copy[:] = array
    return copy


def _array(megabytes: int, number: int) -> Any:
    """Whole numbers, whose sum is below 2**53 and so is exact in whichever order they are added."""
    import numpy as np

    count = megabytes * 1_000_000 // 8
    return np.arange(number, number + count, dtype=np.float64)


def _over_local_ms(peer: Peer, array: Any, argument: Any) -> float:
    with _timed() as local:
        expected = tasks.total(array)
    with _timed() as spent:
        result = peer.run(tasks.total, argument)
    _check(result, expected)
    return (spent.s - local.s) * 1e3


# Death


def killed(peer: Peer, options: Options) -> dict[str, int]:
    """How many of OTHERS calls have no result because one beside them was killed; how many of all never end."""
    calls: list[Call] = [(tasks.nap, (NAP_S, value)) for value in range(OTHERS)]
    calls.insert(1, (tasks.die_after, (DEATH_AFTER_S,)))
    aftermath = peer.aftermath(calls, options.deadline_s)
    results = set(aftermath.results)
    if len(results) != len(aftermath.results) or not results <= set(range(OTHERS)):
        raise WrongResult(f"of {OTHERS} calls and one that was killed came {aftermath.results}")
    return {"harmed": OTHERS - len(results), "endless": aftermath.endless}


def owner(peer: Peer, options: Options) -> None:
    """Keeps every child busy, each after a note of that in the folder BUSY; to be killed then."""
    folder = Path(BUSY).absolute()
    folder.mkdir()
    peer.map(tasks.note_and_work, [str(folder)] * options.workers)


# Time and truth


class _Spent:
    s = 0.0


@contextmanager
def _timed() -> Iterator[_Spent]:
    spent = _Spent()
    started_ns = time.perf_counter_ns()
    yield spent
    spent.s = (time.perf_counter_ns() - started_ns) / 1e9


def _check(result: object, expected: object) -> None:
    if result != expected:
        raise WrongResult(f"expected {str(expected)[:200]}, got {str(result)[:200]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
