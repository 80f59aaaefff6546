"""Libraries that only some tools need, and the server does not install."""

from __future__ import annotations

import importlib
from typing import Any

from roberta_sentiment.errors import StartError


def need(module: str, extra: str = "tools") -> Any:
    """Import a module of an extra.

    Raises:
        StartError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise StartError(
            f"this command needs {module.partition('.')[0]}, which the server does not install: "
            f"pip install '.[{extra}]'"
        ) from None
