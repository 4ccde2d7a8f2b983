"""`ProcessPool` with the names of `ProcessPoolExecutor` that CPython's own tests use."""

import logging
from typing import Any

from treadle import ProcessPool


class TreadleExecutor(ProcessPool):
    """Nothing here changes what the pool does."""

    def __init__(self, max_workers: int | None = None, mp_context: Any = None, **options: Any) -> None:
        # A context says how children are started, of which this pool has one way.
        super().__init__(max_workers, **options)

    @property
    def _broken(self) -> Any:
        return self._crew.broken

    @property
    def _executor_manager_thread(self) -> Any:
        """What ends when the pool has; it can be joined."""
        return self._crew._listener


class Forward(logging.Handler):
    """Logs as `concurrent.futures`, too, what is logged elsewhere."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger("concurrent.futures").handle(record)
