"""Figures as text, for the terminal and the pages alike."""

from __future__ import annotations

NONE = "-"


def percent(value: float | None) -> str:
    """A share."""
    return NONE if value is None else f"{value:.1%}"


def number(value: float | None) -> str:
    """A figure without a unit."""
    return NONE if value is None else f"{value:.3f}"


def millis(seconds: float | None) -> str:
    """A time in ms."""
    if seconds is None:
        return NONE
    return f"{1000 * seconds:,.1f}" if seconds >= 0.01 else f"{1000 * seconds:.2f}"


def p_value(value: float | None) -> str:
    """A p-value; tiny ones by their bound."""
    if value is None:
        return NONE
    return f"{value:.2g}" if value >= 1e-12 else "below 1e-12"


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters, without its middle if it is longer."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"
