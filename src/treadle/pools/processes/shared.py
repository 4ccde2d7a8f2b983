"""Arrays that are put into shared memory once, and named by any number of calls.

The owner's `SharedArray` is an ordinary array that nobody can write to. Pickled for a child of ours, itself or any view
of it, it goes as a number and a place; the child has the segment mapped since it first heard of it. Pickled for anybody
else it is an ordinary array. When it is gone in the owner, children are told to forget the segment; a task that keeps
such an array keeps the memory, which nobody ever writes to again.
"""

from typing import Any, Literal

import numpy as np

from treadle.pools.processes.arena import Segment
from treadle.pools.processes.mappings import mapped
from treadle.pools.processes.pickling import travelling


class SharedSegment:
    """The memory of one shared array, in its owner."""

    def __init__(self, array: "np.ndarray[Any, Any]") -> None:
        self.segment = Segment.new(array.nbytes)
        # As bytes: some types, such as dates, are no buffers.
        self.segment.write([array.reshape(-1, order="A").view(np.uint8).data])
        assert self.segment.memory is not None
        # Not the segment's any more, which would close it: arrays may look into it when this is gone.
        self.memory, self.segment.memory = self.segment.memory, None
        self.address = np.frombuffer(self.memory, np.uint8).__array_interface__["data"][0]

    def offset_of(self, array: "np.ndarray[Any, Any]") -> int | None:
        """Where the array lies in here; None where it lies elsewhere."""
        offset: int = array.__array_interface__["data"][0] - self.address
        return offset if 0 <= offset < len(self.memory) else None


class SharedArray(np.ndarray[Any, Any]):
    """A read-only array in shared memory; made by `ProcessPool.share`."""

    segment: SharedSegment | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.segment = getattr(source, "segment", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        # What is computed from it is an array of the caller's own.
        return array[()] if return_scalar else array.view(np.ndarray)

    def __reduce_ex__(self, protocol: Any) -> Any:
        shares = getattr(travelling, "shares", None)
        offset = self.segment.offset_of(self) if self.segment is not None else None
        if shares is None or offset is None:
            return self.view(np.ndarray).__reduce_ex__(protocol)
        assert self.segment is not None
        shares.append(self.segment.segment)
        return _attach, (self.segment.segment.number, offset, self.dtype, self.shape, self.strides)


def share(array: Any) -> SharedArray:
    """A copy of an array in shared memory. Raises TypeError for what is none, or holds Python objects."""
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        what = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise TypeError(f"share takes a NumPy array of plain values, got {what}")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = np.ascontiguousarray(array)
    segment = SharedSegment(array)
    order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
    shared = np.ndarray(array.shape, array.dtype, segment.memory, order=order).view(SharedArray)
    shared.segment = segment
    shared.flags.writeable = False
    return shared


def _attach(number: int, offset: int, dtype: Any, shape: Any, strides: Any) -> Any:
    """In a child: the array that lies there."""
    return np.ndarray(shape, dtype, mapped(number), offset, strides)
