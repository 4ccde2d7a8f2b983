"""What is told when something has happened to a call: functions that the listener calls without the crew's lock."""

import logging
import pickle
from collections.abc import Callable
from typing import Any

from treadle.errors import PoolBroken, Unreadable, WorkerCrashed
from treadle.pools.processes import pickling
from treadle.pools.processes.arena import Segment
from treadle.pools.processes.call import Call
from treadle.pools.processes.channel import Frame, Kind

News = tuple[Callable[[Any, Any, Segment | None], None], Any, Any, Segment | None]
"""A function of this module, with whom it is about, what there is to tell, and where it lies, if it is large."""


def tell(news: list[News]) -> None:
    """Tell all of it; what a callback of a user's raises is logged, for all calls depend on this thread."""
    for function, whom, what, segment in news:
        try:
            function(whom, what, segment)
        except BaseException:
            logging.getLogger("treadle.pools").exception("a callback of a call raised")


def start(on_started: Callable[[], None], *_: Any) -> None:
    on_started()


def report(on_progress: Callable[[Any], None], body: bytes, _: Any) -> None:
    on_progress(pickling.load(body))


def conclude(call: Call, frame: Frame, segment: Segment | None) -> None:
    """Give a future what its child has told; `segment`: where it lies, if it is large."""
    kind, _, _, body = frame
    if call.is_to_be_cancelled:
        call.conclude_cancelled()
        return
    try:
        value = pickle.loads(body)
        if segment is not None:
            value = pickling.load_from(call.crew.arena.adopt(segment), value)
    except BaseException as error:
        unreadable = Unreadable(f"what the function gave cannot be unpickled here: {error!r}")
        unreadable.__cause__ = error
        call.set_exception(unreadable)
        return
    if kind == Kind.RESULT:
        call.set_result(value)
    else:
        call.set_exception(value)


def fail(call: Call, death: tuple[int | None, str], _: Any) -> None:
    """The child has died under the call: by our own verdict, or by itself, with this exit code and in this way."""
    code, how = death
    if call.is_to_be_cancelled:
        call.conclude_cancelled()
    else:
        call.set_exception(call.verdict or WorkerCrashed(f"the process that ran the call died: {how}", code))


def break_(call: Call, reason: BaseException, _: Any) -> None:
    """No child can be started for it."""
    error = PoolBroken(f"the children of this pool cannot be started: {reason}")
    error.__cause__ = reason
    if not call.done():
        call.set_exception(error)
