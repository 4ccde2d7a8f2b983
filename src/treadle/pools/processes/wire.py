"""What an owner, its zygote and its children say to each other beside bare frames."""

from typing import NamedTuple

from treadle.pools.processes.arena import Part

TELLS_START = 1
"""Flag of a task: a frame tells when it starts."""
WANTS_REPORTS = 2
"""Flag of a task: somebody listens to what it reports."""


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
    nice: int
    path: list[str]
    argv: list[str]
    main: dict[str, str] | None
    preload: tuple[str, ...]
    """`module`, or `module:function` to be called."""
    held_fds: tuple[int, ...]
    """Descriptors that each child keeps open as long as it lives, and hands on to nobody."""
    authkey: bytes
    """By which multiprocessing's managers and connections know each other."""
    initializer: bytes
    """A pickled pair of function and arguments, or None; read only once `path` is in force."""
