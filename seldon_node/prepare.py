"""Before the server starts: prepare the file of the model that it will open.

    python -m seldon_node.prepare

A new file depends on the CPU and lies in /tmp, so it is made where the container runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping

from roberta_sentiment.artifact import Artifact, locate, open_artifact
from roberta_sentiment.cache import Cache, default_roots
from roberta_sentiment.errors import SentimentError
from roberta_sentiment.prepared import optimized_key
from roberta_sentiment.settings import Settings

PARAMETERS = "PREDICTIVE_UNIT_PARAMETERS"


def main() -> int:
    """Make the optimised file of the model to be served; the exit code is 1 if there is none."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        print(f"prepared: {prepare(model_to_serve(os.environ))}", file=sys.stderr)
    except SentimentError as error:
        print(f"not prepared: {error.message}", file=sys.stderr)
        return 1
    return 0


def model_to_serve(environ: Mapping[str, str]) -> Artifact:
    """The model that the server will find with the same variables.

    Raises:
        StartError: the server would not start.
    """
    parameters = json.loads(environ.get(PARAMETERS, "[]"))
    uris = {p["name"]: p["value"] for p in parameters if p["name"] == "model_uri"}
    return open_artifact(*locate(Settings.read(uris, environ).model_uri))


def prepare(artifact: Artifact) -> str:
    """Make its optimised file in the temporary directory unless there is one; say where it is.

    Raises:
        QualityError: the optimised graph answers otherwise.
        ArtifactError: no directory can be written.
    """
    roots = default_roots(artifact.path)
    found = Cache(roots).find(optimized_key(artifact.sha256))
    if found:
        return str(found)
    from roberta_sentiment.tools.optimize import optimize

    return str(optimize(artifact, roots[-1:]))


if __name__ == "__main__":
    sys.exit(main())
