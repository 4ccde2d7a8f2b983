"""What every act plays on: the server, a client of it, the input, and a look into the store."""

from typing import NamedTuple, Self

from treadle.job import Attempt, Job
from treadle.store.contract import Query, WorkerRow
from treadle.store.sqlite import SqliteStore
from treadle.store.sqlite_file import SqliteFile
from treadle_demo.client import Client
from treadle_demo.corpus import Corpus
from treadle_demo.server import HOST, Server

EVERY_JOB = 1_000_000


class Stage(NamedTuple):
    """The demo while the server runs."""

    server: Server
    client: Client
    records: "Records"
    corpora: dict[str, Corpus]
    """`all`, and the `sample` on which times are compared."""
    rounds: int
    pings: int

    @classmethod
    def around(cls, server: Server, corpora: dict[str, Corpus], *, rounds: int, pings: int) -> Self:
        return cls(server, Client(HOST, server.port), Records(server), corpora, rounds, pings)


class Records:
    """The rows of the store, read from beside the web processes: what really happened."""

    def __init__(self, server: Server) -> None:
        self._store = SqliteStore(SqliteFile(server.store_path))

    def workers(self) -> list[WorkerRow]:
        return self._store.workers()

    def job(self, job_id: str) -> Job:
        job = self._store.job(job_id)
        assert job is not None
        return job

    def group(self, whole_id: str) -> list[Job]:
        """A whole and all of its parts."""
        jobs = self._store.find(Query(limit=EVERY_JOB))
        return [job for job in jobs if whole_id in (job.id, job.group_id)]

    def attempts(self, jobs: list[Job]) -> dict[str, list[Attempt]]:
        return self._store.attempts([job.id for job in jobs])

    def close(self) -> None:
        self._store.close()
