"""Is the queue as quick with a million jobs as with a thousand? `make bench-scale`, or
`python benchmarks/scale.py [--store NAME]... [--quick] [--json FILE]`.

For SQLite and for PostgreSQL, one store grows: jobs wait, then as many are finished and kept. At each size:

- claim: milliseconds to take one job, and to write its end, each in a transaction of its own;
- batches: jobs a second through the commit of a busy worker, in which 64 jobs end and 64 are claimed;
- drained: jobs a second through a worker with two processes, while as many are sent anew, so that the size stays;
- what is on the disk, and what PostgreSQL has to vacuum.

The mark is to be within 20 % of what the smallest size gives. Beside it: the memory of a worker while it runs 100,000
jobs (the mark: flat), and what six processes feel that send beside a busy worker, some hundred a second each and then as
fast as they can; on SQLite also without the writer's lock, where only SQLite's own busy handler orders them. As fast as
they can means that eight processes want two cores, so the longest times are those of waiting for a core. Every job must
have run once.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

if not __package__:
    # Run as a file: without its folder, where `queue` would be taken for the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import report
from benchmarks.apps import stamps
from benchmarks.family import end_all_on_sigterm, pss_mb, tree
from benchmarks.libraries import TREADLE
from benchmarks.processes import BenchmarkError, Site
from benchmarks.report import NOTHING, aligned, percentile, say
from benchmarks.sender import WARM_UP
from benchmarks.servers import ServerError, Servers, Service

STORE = "benchmarks.scale_store"
SENDERS = 6
PAUSES_S = (0.002, 0.0)
"""Between two sends of a sender, on average: a busy web site, and as fast as they can."""
BACKLOG = 10
"""Times as many jobs as a sender sends wait before, so that the worker is busy meanwhile."""
WITHIN = 0.8
"""Of the smallest size: the mark."""
LOOK_EVERY_S = 0.05
MEMORY_SAMPLES = 5


@dataclass(frozen=True)
class Stage:
    """One size of a store."""

    service: str
    waiting: int
    finished: int
    claim_ms: list[float]
    finish_ms: list[float]
    batched_ms: list[float]
    """For each job of a batch, of each batch."""
    windows_per_s: list[float]
    """What the worker ran, in each window of the time."""
    bytes: int
    wal_bytes: int
    """SQLite: the largest size of the write-ahead log; PostgreSQL: what was written to it for each job."""
    dead: int | None

    @property
    def batched_per_s(self) -> float:
        return 1e3 / percentile(self.batched_ms, 50)

    @property
    def drained_per_s(self) -> float:
        return median(self.windows_per_s)


@dataclass(frozen=True)
class Crowd:
    """What those feel who send all at once."""

    name: str
    sent_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Memory:
    """Of a worker and its children, in MB (10**6 bytes), while it runs many jobs."""

    name: str
    jobs: int
    mb: list[float]
    """Each after the same number of jobs."""
    drained_per_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    options = _options(argv)
    end_all_on_sigterm()
    print(report.machine(), flush=True)
    failed, found = False, {}
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder, Servers() as servers:
        for service in options.store or (Service.SQLITE, Service.POSTGRES):
            try:
                found[service] = Growth(service, Path(folder), servers, options).measure()
                print(*lines(service, *found[service]), sep="\n", flush=True)
            except ServerError as error:
                print(f"left out: {service}: {error}")
            except BenchmarkError as error:
                print(f"no figure: {error}", file=sys.stderr)
                failed = True
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(found), indent=2) + "\n")
    return 1 if failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The store with many jobs, measured.")
    parser.add_argument("--store", action="append", type=_service, metavar="NAME", help="sqlite or postgresql (both)")
    parser.add_argument("--quick", action="store_true", help="a smoke run with few jobs: no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    options = parser.parse_args(argv)
    options.levels = (1_000, 3_000) if options.quick else (1_000, 100_000, 1_000_000)
    options.rounds = 10 if options.quick else 300
    options.drain_s = 1 if options.quick else 9
    options.memory_jobs = 2_000 if options.quick else 100_000
    options.crowd_jobs = 50 if options.quick else 1_500
    return options


def _service(name: str) -> Service:
    return {service.lower(): service for service in Service if service is not Service.REDIS}[name.lower()]


Found = tuple[list[Stage], list[Memory], list[Crowd]]


class Growth:
    """One store, from a few jobs to many."""

    def __init__(self, service: Service, folder: Path, servers: Servers, options: argparse.Namespace) -> None:
        self._service = service
        self._folder = folder
        self._servers = servers
        self._options = options

    def measure(self) -> Found:
        """Everything. Raises BenchmarkError and ServerError."""
        large = self._options.levels[-1]
        with self._site("grown") as site:
            stages = [self._stage(site, level, finished=0) for level in self._options.levels]
            self._say("finishing", large)
            site.ask(STORE, "finish", large)
            stages += [self._stage(site, level, finished=large) for level in self._options.levels[:2]]
        with self._site("memory") as site:
            memory = self._memory(site, self._options.memory_jobs)
        return stages, [memory], [self._crowd(*crowd) for crowd in self._crowds()]

    def _crowds(self) -> Iterator[tuple[str, str, float]]:
        """What to call each, the App, and the pauses between sends."""
        for pause_s in PAUSES_S:
            how = f"{pause_s * 1e3:.0f} ms apart" if pause_s else "as fast as they can"
            name = f"{self._service}, {SENDERS} senders {how}"
            yield name, "with_treadle", pause_s
            if self._service is Service.SQLITE:
                yield f"{name}, without the writer's lock", "with_treadle_unlocked", pause_s

    @contextmanager
    def _site(self, name: str, module: str = "with_treadle") -> Iterator[Site]:
        worker = tuple(part.replace("with_treadle", module) for part in TREADLE.worker)
        library = replace(TREADLE, service=self._service, module=module, worker=worker)
        folder = self._folder / f"{self._service}-{name}-{module}"
        with self._servers.environment(self._service) as database:
            yield Site(library, folder, "DEFAULT", database)

    def _stage(self, site: Site, waiting: int, finished: int) -> Stage:
        self._say(f"{finished} finished", waiting)
        site.ask(STORE, "fill", waiting)
        rounds = site.ask(STORE, "rounds", self._options.rounds)
        site.ask(STORE, "fill", waiting)
        before, ran_before = site.ask(STORE, "sizes"), stamps.count(site.folder)
        with site.working(is_fast=True):
            drained = site.ask(STORE, "drain", self._options.drain_s)
        after, ran = site.ask(STORE, "sizes"), stamps.count(site.folder) - ran_before
        has_dead_rows = self._service is Service.POSTGRES
        return Stage(
            service=self._service,
            waiting=waiting,
            finished=finished,
            claim_ms=rounds["claim"],
            finish_ms=rounds["finish"],
            batched_ms=[ms / rounds["size"] for ms in rounds["batch"]],
            windows_per_s=drained["per_s"],
            bytes=after["bytes"],
            wal_bytes=(after["wal_bytes"] - before["wal_bytes"]) // ran if has_dead_rows else drained["wal_bytes"],
            dead=after.get("dead"),
        )

    def _memory(self, site: Site, jobs: int) -> Memory:
        self._say("memory of the worker", jobs)
        site.sent += site.ask(STORE, "fill", jobs)["sent"]
        samples: list[float] = []
        with site.working(is_fast=True) as workers:
            while len(samples) < MEMORY_SAMPLES:
                _await(site, lambda: stamps.count(site.folder) >= jobs * (len(samples) + 1) // MEMORY_SAMPLES)
                samples.append(pss_mb(tree([workers[0].pid])))
            site.await_all_ran(workers)
        site.check_all_ran_once()
        times_ns = stamps.read(site.folder)
        return Memory(f"{self._service}", jobs, samples, (jobs - 1) * 1e9 / (max(times_ns) - min(times_ns)))

    def _crowd(self, name: str, module: str, pause_s: float) -> Crowd:
        """The worker has jobs from before, and is busy while the six send."""
        self._say(name, self._options.crowd_jobs)
        count = self._options.crowd_jobs
        with self._site(f"crowd-{pause_s}", module) as site:
            site.send("bulk", count * BACKLOG)
            senders = [site.start("benchmarks.sender", module, "crowd", count, pause_s) for _ in range(SENDERS)]
            site.sent += SENDERS * (count + WARM_UP)
            with site.working(is_fast=True) as workers:
                _await(site, lambda: stamps.count(site.folder) > 0)
                (site.folder / "go").touch()
                answers = [site.answer(sender) for sender in senders]
                site.await_all_ran(workers)
            site.check_all_ran_once()
        ms = [value for answer in answers for value in answer]
        return Crowd(name, SENDERS * 1e3 / (fmean(ms) + pause_s * 1e3), percentile(ms, 50), percentile(ms, 99), max(ms))

    def _say(self, what: str, count: int) -> None:
        say(f"{self._service}: {what}, {count:,}")


def _await(site: Site, is_so: Callable[[], bool], within_s: float = 300) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise BenchmarkError(f"{site.library.name}: nothing moved within {within_s:.0f} s")
        time.sleep(LOOK_EVERY_S)


def lines(service: Service, stages: Sequence[Stage], memory: Sequence[Memory], crowds: Sequence[Crowd]) -> list[str]:
    """What was found of one store, as text."""
    say("")
    wal = "WAL B/job" if service is Service.POSTGRES else "WAL MB"
    titles = [
        *("claim p50 ms", "p99", "end p50 ms", "p99", "batches jobs/s", "x small", "drained/s", "x small"),
        *("MB", wal, "dead rows", "mark"),
    ]
    return [
        "",
        *aligned([[f"{service}: waiting / finished", *titles], *(_stage_cells(stages[0], stage) for stage in stages)]),
        f"mark: at least {WITHIN} x the smallest size in both",
        *(
            f"{m.name}: memory of the worker over {m.jobs:,} jobs, MB: {_mb(m)}; {m.drained_per_s:,.0f}/s"
            for m in memory
        ),
        *(
            f"{c.name}: p50 {c.p50_ms:.2f} ms, p99 {c.p99_ms:.2f} ms, max {c.max_ms:.1f} ms; {c.sent_per_s:,.0f} sent/s"
            for c in crowds
        ),
    ]


def _stage_cells(small: Stage, stage: Stage) -> list[str]:
    batched = stage.batched_per_s / small.batched_per_s
    drained = stage.drained_per_s / small.drained_per_s
    is_postgres = stage.service == Service.POSTGRES
    return [
        f"{stage.waiting:,} / {stage.finished:,}",
        *(f"{percentile(values, p):.2f}" for values in (stage.claim_ms, stage.finish_ms) for p in (50, 99)),
        *(f"{stage.batched_per_s:,.0f}", f"{batched:.2f}", f"{stage.drained_per_s:,.0f}", f"{drained:.2f}"),
        f"{stage.bytes / 1e6:,.0f}",
        f"{stage.wal_bytes:,}" if is_postgres else f"{stage.wal_bytes / 1e6:.1f}",
        NOTHING if stage.dead is None else f"{stage.dead:,}",
        "yes" if min(batched, drained) >= WITHIN else "no",
    ]


def _mb(memory: Memory) -> str:
    return " ".join(f"{value:.0f}" for value in memory.mb)


def _as_json(found: dict[Service, Found]) -> dict[str, Any]:
    return {service: [[asdict(value) for value in values] for values in parts] for service, parts in found.items()}


if __name__ == "__main__":
    sys.exit(main())
