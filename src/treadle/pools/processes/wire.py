"""What an owner, its zygote and its children say to each other beside bare frames."""

from typing import Any, NamedTuple

from treadle.errors import Unpicklable
from treadle.pools.processes import pickling
from treadle.pools.processes.arena import Part

TELLS_START = 1
"""Flag of a task: a frame tells when it starts."""
WANTS_REPORTS = 2
"""Flag of a task: somebody listens to what it reports."""
TELLS_MEMORY = 4
"""Flag of a task that tells its start: and what its process has in memory then, which takes longer than many a task."""

MAY_FAIL = "?"
"""The end of a preloaded module's name: where its import fails, children start without it."""


class WireTask(NamedTuple):
    """One task of a batch."""

    function: int
    """The number of the function; 0: it stands in the body."""
    flags: int
    cores: int
    body: bytes
    segment: int
    """The number of the segment in which it lies; 0: the body is here."""
    parts: tuple[Part, ...]
    """Where body and buffers lie in it."""


RawTask = tuple[int, int, int, bytes, int, tuple[Part, ...]]


class Preparation(NamedTuple):
    """What a zygote does before it forks, and each child before its first task."""

    zygote_pid: int
    """0 until it is known."""
    can_fork: bool
    """Whether children are forked; else each is started as a program of its own."""
    nice: int
    path: list[str]
    argv: list[str]
    main: dict[str, str] | None
    preload: tuple[str, ...]
    """`module`, `module?` whose import may fail, or `module:function()` to be called."""
    held_fds: tuple[int, ...]
    """Descriptors that each child keeps open as long as it lives, and hands on to nobody."""
    authkey: bytes
    """By which multiprocessing's managers and connections know each other."""
    initializer: bytes
    """A pickled pair of function and arguments, or None; read only once `path` is in force."""


class Found(NamedTuple):
    """What a chunk of a map gave."""

    values: list[Any]
    error: bytes | None
    """What ended the values early, pickled."""
    seconds: float
    function: str

    def up_to_what_cannot_travel(self, error: Unpicklable) -> "Found":
        """The values before the first that cannot be pickled, which is the error then; `error` where there is none."""
        for index, value in enumerate(self.values):
            try:
                pickling.pack_value(value, f"the result of {self.function}")
            except Unpicklable as reason:
                return self._replace(values=self.values[:index], error=pickling.dump_error(reason))
        raise error
