"""How gunicorn runs the demo: two web processes, which end with the demo however that ends."""

import os
from typing import Any

from treadle.pools.processes.surroundings import end_with_parent

workers = 2
graceful_timeout = 3


def on_starting(server: Any) -> None:
    """In gunicorn's own process, before it starts the web processes."""
    end_with_parent(int(os.environ["TREADLE_DEMO_OWNER"]))
