"""Replaces parts of the wrapper, and refuses a version of it that the replacements may not fit."""

from __future__ import annotations

import importlib.metadata
from types import MappingProxyType
from typing import Any

from roberta_sentiment.errors import StartError

PACKAGE = "seldon-core"
VERSIONS = ("1.19.0",)
"""Versions of the wrapper that the repairs were written for and are tested with."""

_originals: dict[str, Any] = {}
originals = MappingProxyType(_originals)
"""What the wrapper has brought, by module or class and name."""


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


def patch(owner: Any, name: str, replacement: Any) -> Any:
    """Put a replacement in the place of a module's or a class's attribute.

    Args:
        owner: the module or class.
        name: of the attribute.
        replacement: what stands there from now on.

    Returns:
        What stood there, the replacement of another repair perhaps.

    Raises:
        StartError: there is no such attribute.
    """
    missing = object()
    replaced = getattr(owner, name, missing)
    if replaced is missing:
        raise StartError(
            f"{owner.__name__} has no {name}, which is to be replaced; "
            f"the packages are not those of requirements.txt"
        )
    _originals.setdefault(f"{owner.__name__}.{name}", replaced)
    setattr(owner, name, replacement)
    return replaced
