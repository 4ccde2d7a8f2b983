"""How long a child's turns on a processor are. A file of its own, for Python has no call for it.

A web process that is woken gets the processor of a running child at once, or at the kernel's next tick, which is up to
4 ms away. It is at once where the child has had its share, which its niceness makes soon, and where nothing protects
the rest of its turn. Since Linux 6.12 nothing does against one whose turns are shorter, so a child asks for turns that
are longer than the usual ones. It gets no more and no less of the processor for it.
"""

import ctypes
import os
import struct
import sys

TURN_NS = 4_000_000
"""Usual are 0.7 to 3 ms, more with more cores. No longer than a tick at 250 Hz: two children on one core then take
turns as quickly as without it. A child that is woken beside one with turns of 100 ms would wait for as long."""
ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`: size, policy, flags, niceness, priority, and the length of a turn as `runtime`."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call: C libraries have had it by name since glibc 2.41 only."""


def take_long_turns() -> None:
    """Ask for turns of TURN_NS; where the kernel takes no such wish, nothing changes."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return
    number, policy = SCHED_SETATTR.get(os.uname().machine), os.sched_getscheduler(0)
    if number is None or policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
        return
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = ATTRIBUTES.pack(ATTRIBUTES.size, policy, 0, niceness, 0, TURN_NS, 0, 0)
    ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, attributes, 0)
