"""Which threads stay on which CPU, in a container that has CPUs to itself.

Python runs one thread of a process at a time. Kept on one CPU, the threads that serve requests find
their data in its caches, and ONNX Runtime's own threads have the other CPUs.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from roberta_sentiment.cpu import CGROUP, available_cpus

logger = logging.getLogger(__name__)


class ServingCpus:
    """The CPU that each process of a service serves its requests on.

    Made before the processes fork. A process that ends gives its CPU back, however it ends.
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
    """What the processes of a service share, or None where threads had better move freely.

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
