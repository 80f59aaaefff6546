"""A caller's values in a few words, for a sentence about them."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN, _SHOWN_ITEMS = 40, 5
"""Characters and items of a caller's value that a sentence repeats."""


def describe(value: object) -> str:
    """A value in a few words, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {brief(value)}"
    if isinstance(value, str):
        return f"the text {brief(value)}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"of type {type(value).__name__}"


def brief(value: object) -> str:
    """The beginning of a value as Python writes it, whatever its size."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return f"with more than {_SHOWN} digits"  # Python refuses to write many digits
    if isinstance(value, str):
        return repr(value[:_SHOWN] + "..." if len(value) > _SHOWN else value)
    if isinstance(value, list):
        more = ", ..." if len(value) > _SHOWN_ITEMS else ""
        return f"[{', '.join(map(brief, value[:_SHOWN_ITEMS]))}{more}]"
    return "an object" if isinstance(value, dict) else repr(value)


def names(labels: Sequence[str]) -> str:
    """The labels of a model, for a message; a model may have thousands."""
    shown = ", ".join(label[:_SHOWN] for label in labels[:_SHOWN_ITEMS])
    more = len(labels) - _SHOWN_ITEMS
    return f"{shown} and {more} more" if more > 0 else shown
