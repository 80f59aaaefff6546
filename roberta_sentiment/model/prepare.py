"""The optimised file of a model that is about to be served, or is served already.

    python -m roberta_sentiment.model.prepare MODEL

does it while a server runs: at the lowest priority, and ending with the process that started it.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from roberta_sentiment.container import CGROUP, available_memory, end_with_parent
from roberta_sentiment.errors import ArtifactError, SentimentError
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.derived import default_roots, find_optimized
from roberta_sentiment.model.optimize import optimize

logger = logging.getLogger(__name__)

NEEDED_FOR_ITSELF, NEEDED_FOR_A_BYTE = 150_000_000, 8
"""Bytes of memory: of the process, and for each byte of the model (6 to 7.3 were measured)."""
SMALL = 64_000_000
"""Bytes of a model whose file is made in about a second."""
_LOWEST = 19


def prepare(artifact: Artifact, cgroup: Path = CGROUP) -> Path:
    """Make its optimised file in the temporary directory unless there is one; where it is.

    Args:
        artifact: the model.
        cgroup: where the cgroup file system is mounted.

    Raises:
        QualityError: the optimised graph answers otherwise.
        ArtifactError: no directory can be written, or there is too little memory.
    """
    found = find_optimized(artifact.digest)
    if found:
        return found.path
    _check_memory(artifact, cgroup)
    return optimize(artifact, default_roots())


def prepare_small(artifact: Artifact) -> None:
    """Make the optimised file of a small model before it is served; log why there is none."""
    if artifact.weight_bytes > SMALL:
        return
    try:
        prepare(artifact)
    except SentimentError as error:
        logger.warning("no optimised file was made: %s", error.message)
    except Exception as error:  # the original can be served
        logger.warning("no optimised file was made: %s: %.200s", type(error).__name__, error)


def main() -> int:
    """Prepare the model of the command line; 1 and a sentence if there is no file."""
    end_with_parent()
    os.nice(_LOWEST)
    try:
        prepare(open_artifact(Path(sys.argv[1])))
    except SentimentError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except Exception as error:  # a stack trace would say no more
        sys.stderr.write(f"{type(error).__name__}: {str(error)[:200]}\n")
        return 1
    return 0


def _check_memory(artifact: Artifact, cgroup: Path) -> None:
    """Over its limit the whole container would be killed, at every start again."""
    needed = NEEDED_FOR_ITSELF + NEEDED_FOR_A_BYTE * artifact.weight_bytes
    free = available_memory(cgroup)
    if needed > free:
        raise ArtifactError(
            f"preparing {artifact.name} may take {needed // 10**6} MB of memory, "
            f"{free // 10**6} MB are free"
        )


if __name__ == "__main__":
    sys.exit(main())
