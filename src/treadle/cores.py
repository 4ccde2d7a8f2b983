"""How many cores this process may use (the least of its affinity and its cgroup's quota), and whether threads can."""

import os
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def has_gil() -> bool:
    """Whether one thread of Python runs at a time; False where a free-threaded build has not switched the GIL on."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def usable_cores(setting: int | None = None) -> int:
    """The cores that work may fill, at least 1; `setting` can only lower the count."""
    limits = [_affinity(), *_cgroup_quotas(), *([setting] if setting else [])]
    return max(1, min(limits))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_quotas() -> list[int]:
    """The quota of this process's own cgroup and of each above it, rounded up (cgroup v2)."""
    quotas = []
    folder = _own_cgroup()
    while folder is not None and folder.is_relative_to(CGROUPS):
        quota = _quota_of(folder / "cpu.max")
        if quota is not None:
            quotas.append(quota)
        folder = folder.parent
    return quotas


def _own_cgroup() -> Path | None:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    return CGROUPS / paths[0].lstrip("/") if paths else None


def _quota_of(file: Path) -> int | None:
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else -(-int(quota) // int(period))
