"""Long texts from short ones: reviews have hundreds of words, the data sets one sentence."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lab.training.batches import Example
from lab.training.texts import first_upper, natural

SURE = 1.0
"""Difference of the teacher's logits from which a sentence counts as one-sided."""
OTHER_SIDE = 0.15
"""Part of the sentences of a long text taken from the other side."""


def margin(example: Example) -> float:
    """Positive logit less negative logit."""
    return example.target[1] - example.target[0]


def _sentence(text: str, draw: random.Random) -> str:
    """One part of a long text: mostly as written by people, and closed by a period."""
    if draw.random() < 0.2:
        return text
    text = first_upper(natural(text))
    return text if text[-1:] in ".!?" else f"{text}."


def glue(parts: Sequence[Example], draw: random.Random) -> Example:
    """One text from `parts`; its target is the mean of theirs, its label the sign of that."""
    count = len(parts)
    negative = sum(part.target[0] for part in parts) / count
    positive = sum(part.target[1] for part in parts) / count
    text = " ".join(_sentence(part.text, draw) for part in parts)
    return Example(text, -1, (negative, positive))


class Gluer:
    """Draws sentences of one polarity and glues them."""

    def __init__(self, examples: Sequence[Example], least_words: int = 8) -> None:
        long = [e for e in examples if len(e.text.split()) >= least_words]
        self._sides = (
            [e for e in long if margin(e) < -SURE],
            [e for e in long if margin(e) > SURE],
        )

    def text(self, words: int, draw: random.Random) -> Example:
        """One text of about `words` words, mostly of one side."""
        side = draw.randrange(2)
        parts: list[Example] = []
        length = 0
        while length < words:
            other = bool(parts) and draw.random() < OTHER_SIDE
            part = draw.choice(self._sides[side ^ other])
            parts.append(part)
            length += len(part.text.split())
        draw.shuffle(parts)
        return glue(parts, draw)
