"""For tests: another mode for a while, a clock moved by hand, and the suites that every store and every pool must pass.

    from treadle.testing import ManualClock, in_mode
    from treadle.testing.store_contract import StoreContract
    from treadle.testing.pool_contract import PoolContract
    from treadle.testing.store_machine import check_verbs

The suites are plain classes of plain assertions, which pytest collects once you subclass them under a name that begins
with `Test`. Nothing here needs more than the standard library and Treadle, but for `store_machine`, which needs
Hypothesis.
"""

from treadle.testing.clock import ManualClock
from treadle.testing.modes import in_mode

__all__ = ["ManualClock", "in_mode"]
