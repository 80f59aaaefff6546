"""What the processes of a server use: processor time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time that the living threads of processes have used so far, user and system."""
    return (
        sum(_thread_ns(task) for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")) / 1e9
    )


def _thread_ns(task: Path) -> int:
    """Nanoseconds that a thread has run; 0 if it has ended."""
    try:
        return int((task / "schedstat").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0


def memory_mb(pid: int) -> dict[str, float]:
    """Resident, proportional, private and peak memory of a process, MB (10^6 bytes)."""
    names = {"Rss": "rss", "Pss": "pss", "Private_Clean": "private", "Private_Dirty": "private"}
    found = dict.fromkeys(("rss", "pss", "private", "private_dirty", "peak"), 0.0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, _, value = line.partition(":")
        kilobytes = int(value.split()[0])
        if name in names:
            found[names[name]] += kilobytes * 1024 / 1e6
        if name == "Private_Dirty":
            found["private_dirty"] += kilobytes * 1024 / 1e6
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            found["peak"] = int(line.split()[1]) * 1024 / 1e6
    return {name: round(value, 1) for name, value in found.items()}
