"""Repairs of defects in seldon-core 1.19.0's Python wrapper; each lives with its subject.

The numbers are those of github.com/SeldonIO/seldon-core. A repair whose defect has been fixed
upstream is deleted; until then SELDON_REPAIRS_OFF (names, comma-separated) leaves one out.

    http_errors      a wrong path, method or content type is a 500; no limit for the body (4930);
                     any web page may ask
    rest_server      a client that is slow, silent or does not read holds a thread
    grpc_errors      every error is UNKNOWN with an empty text, messages end at 4 MiB (3924)
    grpc_server      a call whose message does not come holds a thread
    metrics          threads and ending workers lose counts (2704), series grow (2766, 2873)
    processes        SIGTERM never ends the gRPC side or cancels calls, a dead gRPC worker is not
                     replaced (not reported upstream)
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Callable

from roberta_sentiment.errors import StartError
from seldon_node import (
    grpc_errors,
    grpc_server,
    metrics_page,
    processes,
    recorder,
    rest_app,
    rest_worker,
    supervisor,
)

logger = logging.getLogger(__name__)

BOOT_FAILED = supervisor.BOOT_FAILED

PACKAGE = "seldon-core"
VERSIONS = ("1.19.0",)
"""Versions of the wrapper that the repairs were written for and are tested with."""

_OFF = "SELDON_REPAIRS_OFF"
_REPAIRS: dict[str, Callable[[], None]] = {
    "http_errors": rest_app.repair,
    "rest_server": rest_worker.repair,
    "grpc_server": grpc_server.repair,
    "grpc_errors": grpc_errors.repair,
    "metrics": metrics_page.repair,
    "processes": processes.repair,
}
_applied: set[str] = set()


def apply() -> None:
    """Repair the wrapper in this process; a second call changes nothing.

    Raises:
        SystemExit: the wrapper is not the one that the repairs are for.
    """
    off = {name.strip() for name in os.environ.get(_OFF, "").split(",")} - {""}
    repairs = {name: repair for name, repair in _REPAIRS.items() if name not in off}
    if off:
        logger.warning(
            "%s leaves out %s: metrics may be incomplete; known are %s",
            _OFF, ", ".join(sorted(off)), ", ".join(_REPAIRS),
        )  # fmt: skip
    # The node is connected to its metrics store last, whichever repairs are left out.
    repairs["counting"] = recorder.repair
    try:
        check_version()
        for name, repair in repairs.items():
            if name not in _applied:
                repair()
                _applied.add(name)
    except StartError as error:
        raise SystemExit(f"cannot start: {error.message}") from None


def check_version() -> None:
    """Go on only with a known version of the wrapper.

    Raises:
        StartError: it is another.
    """
    installed = importlib.metadata.version(PACKAGE)
    if installed not in VERSIONS:
        raise StartError(
            f"{PACKAGE} {installed} is installed, but the repairs of it are for "
            f"{' and '.join(VERSIONS)}; install {PACKAGE}=={VERSIONS[-1]} "
            "(docs/upgrade.md says how to move to another)"
        )
