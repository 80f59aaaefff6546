"""Text forms: how a sentence looks in a treebank, and how it looks when people write it.

Treebank text is lower-cased and split (`it 's`, `do n't`, `-lrb-`); reviews are not. The student
must answer the same for both: training shows it random surface forms of a text under one label.
"""

from __future__ import annotations

import random
import re

_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "``": '"', "''": '"'}
_CONTRACTION = re.compile(r" (n't|'s|'re|'ve|'ll|'d|'m)\b", re.IGNORECASE)
_BEFORE = re.compile(r" ([.,;:!?)\]%]|\.\.\.)")
_AFTER = re.compile(r"([(\[$]) ")
_QUOTED = re.compile(r'" ?([^"]*?) ?"')
_PAIRED = re.compile(r'"([^"]*)"')
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"[a-z0-9]+")


def natural(text: str) -> str:
    """The text as people type it, such as `it isn't (bad).` for `it is n't -lrb- bad -rrb- .`."""
    words = [_BRACKETS.get(word, word) for word in text.split()]
    joined = " ".join(words).replace("\\/", "/").replace("ca n't", "can't")
    joined = _CONTRACTION.sub(r"\1", joined).replace("can not", "cannot")
    joined = re.sub(r"s ' ", "s' ", joined)
    joined = _AFTER.sub(r"\1", _BEFORE.sub(r"\1", joined))
    joined = _QUOTED.sub(r'"\1"', joined)
    return re.sub(r"\bi\b(?!\.)", "I", _SPACES.sub(" ", joined)).strip()


def key(text: str) -> str:
    """Letters and digits only, lower case: equal for all surface forms of one text."""
    return "".join(_WORD.findall(natural(text).lower()))


def shingles(text: str, size: int = 8) -> set[str]:
    """All runs of `size` words, apostrophes removed; empty for shorter texts."""
    words = _WORD.findall(natural(text).lower().replace("'", "").replace("\u2019", ""))
    return {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}


def first_upper(text: str) -> str:
    """The text with its first character in upper case."""
    return text[:1].upper() + text[1:]


def without_final_period(text: str) -> str:
    """The text without one closing period and the blank before it; ellipses stay."""
    if text.endswith(".") and not text.endswith(".."):
        return text[:-1].rstrip()
    return text


def typographic_quotes(text: str) -> str:
    """The text as people write it, with curly apostrophes and quotation marks."""
    curly = _PAIRED.sub("\u201c\\1\u201d", natural(text))
    return curly.replace("'", "\u2019")


def spell_out_not(text: str) -> str:
    """`not` for `n't`, `will not` for `wo n't`, `cannot` for `ca n't`."""
    text = re.sub(r"\bwo ?n't\b", "will not", text)
    text = re.sub(r"\bca ?n't\b", "cannot", text)
    return re.sub(r" ?n't\b", " not", text)


def html_breaks(text: str) -> str:
    """A line break of HTML after the middle word, two after the last."""
    words = text.split(" ")
    middle = (len(words) + 1) // 2
    return f"{' '.join(words[:middle])}<br />{' '.join(words[middle:])}<br /><br />"


def _recase(text: str, draw: random.Random) -> str:
    """First letter upper 40 %, as is 37 %, lower 9 %, one word upper 4 %, title 5 %, upper 5 %."""
    dice = draw.random()
    if dice < 0.40:
        return first_upper(text)
    if dice < 0.77:
        return text
    if dice < 0.86:
        return text.lower()
    if dice < 0.90:
        words = text.split(" ")
        at = draw.randrange(len(words))
        return " ".join([*words[:at], words[at].upper(), *words[at + 1 :]])
    return text.title() if dice < 0.95 else text.upper()


def _repunctuate(text: str, draw: random.Random) -> str:
    """Drop a closing period (35 %), or close an open text by one (25 %) or by `!` (3 %)."""
    dice = draw.random()
    if text.endswith("."):
        return without_final_period(text) if dice < 0.35 else text
    if not text or not text[-1].isalnum():
        return text
    if dice < 0.25:
        return f"{text}." if draw.random() < 0.7 else f"{text} ."
    return f"{text}!" if dice < 0.28 else text


def surface(text: str, draw: random.Random) -> str:
    """One random surface form of `text` with the same meaning; one in four stays unchanged."""
    if draw.random() < 0.25:
        return text
    if draw.random() < 0.55:
        text = natural(text)
        if draw.random() < 0.1:
            text = text.replace("'", "\u2019")
    return _recase(_repunctuate(text, draw), draw)


def drop_words(text: str, draw: random.Random, part: float = 0.12) -> str:
    """The text with about `part` of its words removed: new text for the teacher to label."""
    words = text.split()
    kept = [word for word in words if draw.random() >= part]
    return " ".join(kept or words)
