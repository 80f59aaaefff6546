"""What this container may use: CPUs, memory and processes, from its cgroup and its CPUs."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import math
import os
import platform
import signal
from pathlib import Path

from numpy.core._multiarray_umath import (  # type: ignore[import-not-found]
    __cpu_features__,
)

logger = logging.getLogger(__name__)

CGROUP = Path("/sys/fs/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
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

_PR_SET_PDEATHSIG = 1
_MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_MEMORY_USED = ("memory.current", "memory/memory.usage_in_bytes")
_MEMORY_STATISTICS = ("memory.stat", "memory/memory.stat")
_MEMORY_EVENTS = ("memory.events", "memory/memory.oom_control")
_PROCESS_LIMITS = ("pids.max", "pids/pids.max")
"""Files of cgroup v2 and v1."""


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
    """CPU instructions that decide which kernels ONNX Runtime uses, sorted; empty if unknown.

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


def processor(cpuinfo: Path = _CPUINFO) -> str:
    """Name of the CPU, as the kernel gives it; that of its architecture where it gives none."""
    lines = _read(cpuinfo).splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory that this container may use; None if there is no limit."""
    return _limit(cgroup, _MEMORY_LIMITS)


def available_memory(cgroup: Path = CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Bytes of memory that this container may still take, at least 0.

    The smaller of what the node has and what the limit leaves; file pages that were not used
    lately are free, as for the kubelet.

    Args:
        cgroup: where the cgroup file system is mounted.
        meminfo: the kernel's description of the node's memory.
    """
    node = _number(meminfo, "MemAvailable:") * 1024
    limit = memory_limit(cgroup)
    if limit is None:
        return node
    idle = _first_number(cgroup, _MEMORY_STATISTICS, "inactive_file")
    used = (_limit(cgroup, _MEMORY_USED) or 0) - idle
    return max(0, min(node, limit - used))


def process_limit(cgroup: Path = CGROUP) -> int | None:
    """Processes and threads that this container may have; None if there is no limit."""
    return _limit(cgroup, _PROCESS_LIMITS)


def memory_kills(cgroup: Path = CGROUP) -> int:
    """Processes of this container that the kernel has killed for memory; 0 if it does not say."""
    return _first_number(cgroup, _MEMORY_EVENTS, "oom_kill")


class ServingCpus:
    """The CPU that each process of a service serves its requests on.

    Python runs one thread of a process at a time. Kept on one CPU, the threads that serve requests
    find their data in its caches, and ONNX Runtime's own threads have the other CPUs.

    Made before the processes fork. A process releases its CPU when it ends, however it ends.
    """

    def __init__(self) -> None:
        self._locks = os.memfd_create("serving-cpus")

    def claim(self) -> int:
        """A CPU for this process: its own, or a shared one if all are claimed."""
        cpus = sorted(os.sched_getaffinity(0))
        for cpu in cpus:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, cpu)
                return cpu
        return cpus[os.getpid() % len(cpus)]


def serving_cpus(*, exclusive: bool, cgroup: Path = CGROUP) -> ServingCpus | None:
    """The CPUs that the processes of a service claim; None where threads should move freely.

    Args:
        exclusive: whether the container has its CPUs to itself, as the operator says.
        cgroup: where the cgroup file system is mounted.
    """
    cpus = len(os.sched_getaffinity(0))
    if not exclusive or cpus == 1:
        return None
    used = available_cpus(cgroup)
    if used < cpus:
        logger.warning(
            "exclusive_cpus is ignored: this container may use %d CPUs but run on %d, so others "
            "run there too; ask for whole CPUs on a node whose kubelet hands them out",
            used, cpus,
        )  # fmt: skip
        return None
    return ServingCpus()


def keep_thread_on(cpu: int) -> None:
    """Keep this thread, and every thread that it starts from now on, on one CPU."""
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.sched_setaffinity(0, {cpu})


def end_with_parent() -> None:
    """Let the kernel send this process SIGTERM when its parent ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _limit(cgroup: Path, names: tuple[str, ...]) -> int | None:
    """The number in the first file that exists; None if it is "max", or without a file."""
    text = next(filter(None, (_read(cgroup / name) for name in names)), "")
    return int(text) if text.isdigit() else None


def _first_number(cgroup: Path, names: tuple[str, ...], key: str) -> int:
    """The number after a word in the first file that has it; 0 without one."""
    return next(filter(None, (_number(cgroup / name, key) for name in names)), 0)


def _number(path: Path, key: str) -> int:
    """The whole number after a word that begins a line; 0 without one."""
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == key and words[1].isdigit():
            return int(words[1])
    return 0


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
    except (OSError, UnicodeDecodeError):
        return ""
