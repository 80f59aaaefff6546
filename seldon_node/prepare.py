"""Before the server starts: prepare the file of the model that it will open.

    python -m seldon_node.prepare

A new file depends on the CPU and lies in /tmp, so it is made where the container runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from roberta_sentiment.container import CGROUP, memory_limit
from roberta_sentiment.errors import ArtifactError, SentimentError
from roberta_sentiment.model.artifact import Artifact, locate, open_artifact
from roberta_sentiment.model.derived import default_roots, find_optimized
from roberta_sentiment.settings import Settings
from seldon_node.preflight import parameters

NEEDED_FOR_ITSELF, NEEDED_FOR_A_BYTE = 150_000_000, 8
"""Bytes of memory: of the process, and for each byte of the model (6 to 7.3 were measured)."""


def main() -> int:
    """Make the optimised file of the model to be served; the exit code is 1 if there is none."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        sys.stderr.write(f"prepared: {prepare(model_to_serve(os.environ))}\n")
    except SentimentError as error:
        sys.stderr.write(f"not prepared: {error.message}\n")
        return 1
    except Exception as error:
        # The server is better at saying what is wrong, or does not need what was missing here.
        sys.stderr.write(f"not prepared: {type(error).__name__}: {str(error)[:200]}\n")
        return 1
    return 0


def model_to_serve(environ: Mapping[str, str]) -> Artifact:
    """The model that the server will find with the same variables.

    Raises:
        StartError: the server would not start.
    """
    return open_artifact(*locate(Settings.read(parameters(environ), environ).model_uri))


def prepare(artifact: Artifact, cgroup: Path = CGROUP) -> str:
    """Make its optimised file in the temporary directory unless there is one; say where it is.

    Args:
        artifact: the model.
        cgroup: where the cgroup file system is mounted.

    Raises:
        QualityError: the optimised graph answers otherwise.
        ArtifactError: no directory can be written, or the memory limit is too low.
    """
    found = find_optimized(artifact.digest)
    if found:
        return str(found.path)
    _check_memory(artifact, cgroup)
    from roberta_sentiment.tools.optimize import optimize

    return str(optimize(artifact, default_roots()))


def _check_memory(artifact: Artifact, cgroup: Path) -> None:
    """Over its limit the whole container would be killed, at every start again."""
    needed = NEEDED_FOR_ITSELF + NEEDED_FOR_A_BYTE * artifact.weight_bytes
    limit = memory_limit(cgroup)
    if limit is not None and needed > limit:
        raise ArtifactError(
            f"preparing {artifact.name} may take {needed // 10**6} MB of memory, the limit is "
            f"{limit // 10**6} MB"
        )


if __name__ == "__main__":
    sys.exit(main())
