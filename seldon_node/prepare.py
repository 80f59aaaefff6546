"""Before the server starts: prepare the file of the model that it will open.

    python -m seldon_node.prepare

A new file depends on the CPU and lies in /tmp, so it is made where the container runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

from roberta_sentiment.errors import SentimentError
from roberta_sentiment.model.artifact import Artifact, locate, open_artifact
from roberta_sentiment.model.prepare import prepare
from roberta_sentiment.settings import Settings
from seldon_node.preflight import parameters


def main() -> int:
    """Make the optimised file of the model to be served; the exit code is 1 if there is none."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if Settings.read(parameters(os.environ), os.environ).device.startswith("cuda"):
            sys.stderr.write("not prepared: the model runs on a GPU\n")
            return 0
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


if __name__ == "__main__":
    sys.exit(main())
