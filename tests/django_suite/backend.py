"""`WorkerBackend` with the names of Django's `DummyBackend` that its own tests use."""

from typing import Any

from django_worker.backend import WorkerBackend


class SuiteBackend(WorkerBackend):
    """Remembers what was sent; nothing here changes what the backend does."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.results: list[Any] = []

    def enqueue(self, *args: Any) -> Any:
        self.results.append(super().enqueue(*args))
        return self.results[-1]

    async def aenqueue(self, *args: Any) -> Any:
        self.results.append(await super().aenqueue(*args))
        return self.results[-1]

    def clear(self) -> None:
        self.results.clear()
        store = self.treadle.store
        store.cancel([call.job_id for call in self.treadle.sent()], 1)
        store.prune(2**62, 2**62, 1_000_000)
