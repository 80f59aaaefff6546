"""Replaces attributes of the packages that a door builds on, and keeps the originals."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from roberta_sentiment.errors import StartError

_originals: dict[str, Any] = {}
originals = MappingProxyType(_originals)
"""What the package has brought, by module or class and name."""


def patch(owner: Any, name: str, replacement: Any) -> Any:
    """Replace an attribute of a module or of a class.

    Args:
        owner: the module or class.
        name: of the attribute.
        replacement: its new value.

    Returns:
        Its previous value, perhaps the replacement of another repair.

    Raises:
        StartError: there is no such attribute.
    """
    missing = object()
    replaced = getattr(owner, name, missing)
    if replaced is missing:
        raise StartError(
            f"{owner.__name__} has no {name}, which is to be replaced; "
            "the installed packages are not the pinned ones"
        )
    _originals.setdefault(f"{owner.__name__}.{name}", replaced)
    setattr(owner, name, replacement)
    return replaced
