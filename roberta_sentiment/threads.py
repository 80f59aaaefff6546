"""How many CPUs this process may use: affinity and the container's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process may use, at least 1.

    The smaller of the affinity mask and the cgroup quota, rounded up: a quota of 1.5 CPUs gives 2.

    Args:
        cgroup: where the cgroup file system is mounted.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, min(cpus, math.ceil(quota))) if quota else cpus


def _quota_v2(cgroup: Path) -> float | None:
    """CPUs granted by cgroup v2 `cpu.max`: "200000 100000" is 2, "max 100000" is no limit."""
    words = _read(cgroup / "cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(cgroup: Path) -> float | None:
    """CPUs granted by cgroup v1 `cpu.cfs_quota_us`; -1 is no limit."""
    quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us")
    period = _read(cgroup / "cpu" / "cpu.cfs_period_us")
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
