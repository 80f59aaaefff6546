"""How a contender is asked: one JSON object a line, in and out. Runs in any environment.

The first line out says that it is ready, and with which packages. Each line in holds `texts` and
`options`; the line out holds `seconds` and `logits`, or `error`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Handler = Callable[..., list[list[float]]]


def serve(handler: Handler, packages: tuple[str, ...], **facts: Any) -> None:
    """Answer until standard input ends; whatever else is printed goes to standard error.

    Args:
        handler: called with the texts and the options; gives the logits of each text.
        packages: whose versions matter.
        facts: what else the first line should say.
    """
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    say({"versions": {name: importlib.metadata.version(name) for name in packages}, **facts})
    for line in sys.stdin:
        say(_answer(handler, json.loads(line)))


def _answer(handler: Handler, request: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        logits = handler(request["texts"], **request["options"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"seconds": time.perf_counter() - start, "logits": logits}
