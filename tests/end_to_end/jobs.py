"""Looking into the store of a running program, from outside."""

from collections import Counter
from pathlib import Path

from treadle.app import Treadle
from treadle.job import Attempt, Job
from treadle.store.contract import Query, WorkerRow


def lines(path: Path) -> list[str]:
    """What the runs of a task have left in a file."""
    return path.read_text().splitlines() if path.exists() else []


class Jobs:
    """What is in one store, read anew each time."""

    def __init__(self, url: str) -> None:
        self.app = Treadle(url)
        self.store = self.app.store

    def close(self) -> None:
        self.app.close()

    def rows(self) -> list[Job]:
        return self.store.find(Query(limit=1_000_000, newest_first=False))

    def attempts(self) -> dict[str, list[Attempt]]:
        """The ended runs of each job."""
        return self.store.attempts([job.id for job in self.rows()])

    def outcomes(self) -> Counter[str]:
        """How many runs ended in which way."""
        return Counter(str(attempt.outcome) for ended in self.attempts().values() for attempt in ended)

    def count(self, state: str) -> int:
        return sum(count for (_, its_state), count in self.store.counts().items() if its_state == state)

    def have_succeeded(self, count: int) -> bool:
        return self.count("succeeded") >= count

    def workers(self, kind: str | None = None) -> list[WorkerRow]:
        return [worker for worker in self.store.workers() if kind in (None, worker.kind)]

    def the_worker(self, kind: str | None = None) -> WorkerRow | None:
        """The worker, where there is exactly one."""
        workers = self.workers(kind)
        return workers[0] if len(workers) == 1 else None

    def accepted_once(self) -> bool:
        """Whether each job has succeeded, with exactly one run accepted as its end."""
        attempts = self.attempts()
        runs = [[a.outcome for a in attempts.get(job.id, [])].count("succeeded") for job in self.rows()]
        return all(count == 1 for count in runs) and all(job.state == "succeeded" for job in self.rows())
