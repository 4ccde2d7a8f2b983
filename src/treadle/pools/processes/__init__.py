"""Our own process pool. Begin with `crew.py`."""

from treadle.pools.processes.pool import ProcessPool

__all__ = ["ProcessPool"]
