"""Control groups with a limit, of version 1 or 2."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


class Group:
    """A control group.

    Args:
        controller: memory or pids.
        limit: bytes, or processes and threads.
        files: what the limit's file is called in version 1 and in version 2.

    Raises:
        OSError: it is not allowed here.
    """

    def __init__(self, controller: str, limit: int, files: tuple[str, str]) -> None:
        self._is_first = (GROUPS / controller).is_dir()
        self.parent = GROUPS / controller if self._is_first else GROUPS
        self.path = self.parent / f"sentiment-test-{controller}-{os.getpid()}"
        self.path.mkdir()
        try:
            file = self.path / files[0 if self._is_first else 1]
            file.write_text(str(limit), encoding="ascii")
        except OSError:
            self.remove()
            raise

    def add(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.rmdir()


class MemoryGroup(Group):
    """A limit of memory, MiB."""

    def __init__(self, limit_mib: int) -> None:
        super().__init__("memory", limit_mib * 2**20, ("memory.limit_in_bytes", "memory.max"))

    def used_mb(self) -> float:
        """What can't be given back to others: neither files nor their cache."""
        name = "total_rss" if self._is_first else "anon"
        return self._read("memory.stat")[name] / 1e6

    def kills(self) -> int:
        name = "memory.oom_control" if self._is_first else "memory.events"
        return self._read(name)["oom_kill"]

    def _read(self, name: str) -> dict[str, int]:
        lines = (self.path / name).read_text(encoding="ascii").splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}
