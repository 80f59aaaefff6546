"""Which texts can be scored: one rule for the server, the command line and the tools."""

from __future__ import annotations

import unicodedata

from roberta_sentiment.errors import TextError


def check_text(position: int, text: str) -> None:
    """Refuse a text in which there is nothing to score, or which no tokenizer was trained on.

    Args:
        position: index of the text in its request.
        text: the text.

    Raises:
        TextError: it is empty or holds a NUL.
    """
    if not text or text.isspace():
        raise TextError(f"text {position} is empty; there is nothing to score")
    if "\0" in text:
        raise TextError(f"text {position} holds a NUL at character {text.index(chr(0))}")


def printable(text: str) -> str:
    """A text for a terminal: control characters but line breaks are written as escapes."""
    return "".join(
        repr(sign)[1:-1] if unicodedata.category(sign) == "Cc" and sign != "\n" else sign
        for sign in text
    )
