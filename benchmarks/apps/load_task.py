"""The job of `web_load.py`: a tenth of a second in steps, each of which is reported with the time of the report."""

import time
from typing import Any

from benchmarks.pool_tasks import work_for

STEPS, STEP_S = 4, 0.025


def run(context: Any, kind: str) -> int:
    """Compute or wait, as `kind` says, and say how far it is."""
    for step in range(STEPS):
        work_for(STEP_S) if kind == "compute" else time.sleep(STEP_S)
        context.progress(step + 1, STEPS, repr(time.time()))
    return STEPS
