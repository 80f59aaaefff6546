"""What the container must grant before the servers start: threads, and a place for small files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from roberta_sentiment.container import CGROUP, available_cpus, process_limit
from roberta_sentiment.errors import SettingsError

_FOR_A_PROCESS = 16
"""Tasks of a server process beside its request threads: loop, health and gRPC's own."""

_FOR_THE_SERVICE = 16
"""Main process, gunicorn's two arbiters, the metrics server and a probe or a shell in between."""


def tasks_needed(rest_workers: int, rest_threads: int, grpc_workers: int, grpc_threads: int) -> int:
    """Processes and threads that the service has when all of them run.

    Args:
        rest_workers: processes that serve REST.
        rest_threads: request threads of each.
        grpc_workers: processes that serve gRPC.
        grpc_threads: request threads of each.
    """
    model = available_cpus()
    rest = rest_workers * (rest_threads + model + _FOR_A_PROCESS)
    # gRPC's own threads: some for the CPUs of the machine, at most 16, and some for timers.
    own = min(16, os.cpu_count() or 1) + _FOR_A_PROCESS
    return rest + grpc_workers * (grpc_threads + model + own) + _FOR_THE_SERVICE


def check_tasks(needed: int, cgroup: Path = CGROUP) -> None:
    """Refuse a start that would end in threads that can't be started.

    Args:
        needed: see `tasks_needed`.
        cgroup: where the cgroup file system is mounted.

    Raises:
        SettingsError: the container's limit is lower.
    """
    limit = process_limit(cgroup)
    if limit is not None and limit < needed:
        raise SettingsError(
            f"the container may have {limit} processes and threads (pids.max), this service "
            f"needs {needed}; raise the limit or lower GUNICORN_THREADS and GRPC_THREADS"
        )


def check_temporary_files() -> None:
    """Refuse a start that would end at the first small file.

    Raises:
        SettingsError: nothing can be written to the folder for temporary files.
    """
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1))
            file.flush()
    except OSError as error:
        folder = os.environ.get("TMPDIR", "/tmp")  # noqa: S108
        raise SettingsError(
            f"no file can be written to {folder} ({error.strerror}); "
            "mount an emptyDir there, or make room in it"
        ) from None


def too_few_threads(error: RuntimeError) -> SettingsError:
    """The message for a thread that can't be started after all."""
    return SettingsError(
        f"a thread can't be started ({error}); raise the container's limit of processes and "
        "threads, or lower GUNICORN_THREADS and GRPC_THREADS"
    )
