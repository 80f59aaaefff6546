"""The optimised file, made by a process of its own while the model serves."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.derived import Entry, default_roots, find_optimized, locked

logger = logging.getLogger(__name__)

SECONDS = "PREPARE_SECONDS"
"""The variable that limits how long a start waits for the file; at 0 none is made."""
_LONGEST_S = 900.0
_COMMAND = "roberta_sentiment.model.prepare"


def is_wanted() -> bool:
    """Whether the optimised file may be made."""
    return os.environ.get(SECONDS, "").strip() != "0"


def make_in_background(artifact: Artifact) -> Entry | None:
    """Make the optimised file, or wait for the process of this user that makes one.

    Returns:
        It, once it is intact; None where none can be made, which is logged.
    """
    if not is_wanted():
        return None
    try:
        with locked(default_roots()[0] / "making"):
            found = find_optimized(artifact.digest)
            return found or (find_optimized(artifact.digest) if _make(artifact) else None)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("no optimised file can be made: %s", error)
        return None


def _make(artifact: Artifact) -> bool:
    """Whether the command has made it. It runs from where the package was found."""
    done = subprocess.run(
        [sys.executable, "-m", _COMMAND, str(artifact.onnx_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        logger.warning("no optimised file was made: %s", done.stderr.strip()[-300:])
    return not done.returncode
