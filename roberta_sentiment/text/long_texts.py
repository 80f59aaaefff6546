"""The first and the last tokens of a long text, without encoding all of it.

Why a part is enough. Encoders of text (byte-pair merges, Unigram's best path, WordPiece within a
word) have this in common: where a boundary between two tokens stands, the tokens before it are
those of the text up to there alone, whatever follows; and a word is encoded by itself. So
 - a text may be cut between two words;
 - and inside a word that does not end, one of the next positions at which a token may end is a
   boundary. What the encodings of the text up to *each* of these positions begin with is therefore
   what the encoding of the whole text begins with. The same holds for its end.
WordPiece is different inside a word, for one with more than 100 letters is a single unknown token:
there a text is cut between two words only.
Where even that decides too little, as in a word of unknown signs that is one token, more is read,
and in the end all, unless that is too much.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

SPACE = r"(?<=\w) (?=\w)"
"""Positions between two words, for every tokenizer."""
IDEOGRAPHS = r"(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])"
PUNCTUATION = r"(?<=[^\W_])(?=[.,;:!?])"
"""Between two words for tokenizers that split there."""

_MORE_CHARACTERS = 256
"""Read at first beside one for each token wanted."""
_GROWTH = 4
_MOST_GROWTH = 64
"""Where 64 times the first part decides nothing, as in a run of one sign, more of it does not."""
_APART = 64
"""Characters between two cuts of which each confirms the other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Token ids of one end of a text, without special tokens.

    Attributes:
        ids: those that are known, in their order.
        whole: they are all of the text.
    """

    ids: list[int]
    whole: bool


class LongTexts:
    """Encodes one end of a text.

    Args:
        encode: from a text to its ids, without special tokens.
        longest_token: characters of the longest token.
        most_bytes: UTF-8 bytes of the longest text that may be encoded as a whole.
        word_breaks: regular expressions of positions between two words.
        cut_words: whether a text may be cut inside a word.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        *,
        longest_token: int,
        most_bytes: int,
        word_breaks: Iterable[str] = (SPACE,),
        cut_words: bool = True,
    ) -> None:
        self._encode = encode
        self._word_break = re.compile("|".join(word_breaks))
        self._cut_words = cut_words
        self._longest_token = longest_token
        self._most_bytes = most_bytes

    def first(self, text: str, count: int) -> Part | None:
        """At least the first `count` ids of a text, or all; None if it is too long for that."""
        for size in self._sizes(text, count):
            ends = self._ends(text, size)
            ids = _common_prefix((self._encode(text[:end]) for end in ends), count)
            if len(ids) >= count:
                return Part(ids, whole=False)
        return self._all(text)

    def last(self, text: str, count: int) -> Part | None:
        """At least the last `count` ids of a text, or all; None if it is too long for that."""
        for size in self._sizes(text, count):
            starts = self._starts(text, len(text) - size)
            backwards = (self._encode(text[start:])[::-1] for start in starts)
            ids = _common_prefix(backwards, count)[::-1]
            if len(ids) >= count:
                return Part(ids, whole=False)
        return self._all(text)

    def _all(self, text: str) -> Part | None:
        if len(text.encode()) > self._most_bytes:
            return None
        return Part(self._encode(text), whole=True)

    def _sizes(self, text: str, count: int) -> Iterator[int]:
        """Characters to read, in growing steps."""
        first = size = count + _MORE_CHARACTERS + 2 * self._longest_token
        while size < len(text) // 2 and size <= _MOST_GROWTH * first:
            yield size
            size *= _GROWTH

    def _ends(self, text: str, size: int) -> Iterable[int]:
        """Positions near `size` such that a token ends at one of them."""
        breaks = [match.start() for match in self._word_break.finditer(text, size // 2, size)]
        if breaks:
            return {breaks[-1], *[b for b in breaks if b <= breaks[-1] - _APART][-1:]}
        return self._every_cut(text, range(size - self._longest_token, size + 1))

    def _starts(self, text: str, start: int) -> Iterable[int]:
        """Positions near `start` such that a token begins at one of them."""
        stop = (start + len(text)) // 2
        breaks = [match.start() for match in self._word_break.finditer(text, start, stop)]
        if breaks:
            return {breaks[0], *[b for b in breaks if b >= breaks[0] + _APART][:1]}
        return self._every_cut(text, range(start, start + self._longest_token + 1))

    def _every_cut(self, text: str, cuts: range) -> Iterable[int]:
        # Normalisation may move one combining character past thousands of others.
        combining = all(map(unicodedata.combining, text[cuts.start : cuts.stop]))
        return cuts if self._cut_words and not combining else ()


def _common_prefix(sequences: Iterable[list[int]], enough: int) -> list[int]:
    """What all sequences begin with, if that is enough; nothing if there are none."""
    common: list[int] | None = None
    for ids in sequences:
        if common is None:
            common = ids
        elif common != ids[: len(common)]:
            pairs = zip(common, ids, strict=False)
            equal = itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)
            common = common[: sum(1 for _ in equal)]
        if len(common) < enough:
            break
    return common or []
