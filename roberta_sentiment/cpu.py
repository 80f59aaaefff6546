"""The CPUs of this process: how many it may use, and what they can do."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

from numpy.core._multiarray_umath import (  # type: ignore[import-not-found]
    __cpu_features__,
)

CGROUP = Path("/sys/fs/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
_KERNEL_FEATURES = {
    "amx_bf16", "amx_int8", "asimddp", "avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512f",
    "avx_vnni", "i8mm", "sve",
}  # fmt: skip
_NUMPY_NAMES = {
    "asimddp": "ASIMDDP",
    "avx": "AVX",
    "avx2": "AVX2",
    "avx512_vnni": "AVX512VNNI",
    "avx512f": "AVX512F",
}


def available_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs that this process may use, at least 1.

    The smaller of the affinity mask and the cgroup quota, rounded up: a quota of 1.5 CPUs gives 2.

    Args:
        cgroup: where the cgroup file system is mounted.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, min(cpus, math.ceil(quota))) if quota else cpus


def features(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """Instructions that decide which kernels ONNX Runtime takes, sorted; empty where unknown.

    An emulated CPU has fewer than the kernel of the machine lists. What numpy has read from the CPU
    itself decides, and where the list contradicts it, nothing else of the list is believed.

    Args:
        cpuinfo: the kernel's description of the CPUs.
    """
    listed = _KERNEL_FEATURES.intersection(_read(cpuinfo).replace("\t", " ").split())
    checked = {name for name, key in _NUMPY_NAMES.items() if key in __cpu_features__}
    found = {name for name in checked if __cpu_features__[_NUMPY_NAMES[name]]}
    rest = listed - checked if listed & checked == found else set()
    return (platform.machine(), *sorted(found | rest))


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
