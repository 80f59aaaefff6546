"""The texts of every benchmark: real sentences where they are at hand, and reviews made of them."""

from __future__ import annotations

import functools
import random
import string

from lab.benchmarks.machine import ROOT

SEED = 0
SENTENCES = ROOT.parent / "shared" / "data" / "sst2_dev.tsv"
_WORDS_OF_A_SENTENCE = (2, 7, 11, 14, 17, 19, 22, 25, 29, 34, 47)
"""Deciles of the sentences in SST-2 dev, for sentences that have to be made up."""


@functools.cache
def _pool() -> tuple[str, ...]:
    if SENTENCES.exists():
        lines = SENTENCES.read_text(encoding="utf-8").splitlines()[1:]
        return tuple(line.partition("\t")[2].strip() for line in lines)
    draw = random.Random(SEED)
    return tuple(_made_up(draw) for _ in range(872))


def source() -> str:
    """Where the sentences come from, in words."""
    return "SST-2 dev" if SENTENCES.exists() else "made up, as long as those of SST-2 dev"


def sentences(n: int, seed: int = SEED) -> list[str]:
    """n sentences, drawn without replacement while there are enough."""
    draw = random.Random(seed)
    pool = _pool()
    return draw.sample(pool, n) if n <= len(pool) else draw.choices(pool, k=n)


def review(words: int, draw: random.Random) -> str:
    """Sentences one after another, cut to a number of words."""
    parts: list[str] = []
    while len(parts) < words:
        parts += draw.choice(_pool()).split()
    return " ".join(parts[:words])


def reviews(n: int, words: tuple[int, int] = (150, 330), seed: int = SEED) -> list[str]:
    """n long reviews; how many words each has is drawn evenly between two bounds."""
    draw = random.Random(seed)
    return [review(draw.randint(*words), draw) for _ in range(n)]


def mixed(n: int, seed: int = SEED) -> list[str]:
    """n texts as they come in: three of four are sentences, the rest reviews of 50 to 300 words."""
    draw = random.Random(seed)
    long = n // 4
    texts = sentences(n - long, seed) + reviews(long, (50, 300), seed)
    draw.shuffle(texts)
    return texts


def _made_up(draw: random.Random) -> str:
    decile = draw.randrange(len(_WORDS_OF_A_SENTENCE) - 1)
    words = draw.randint(*_WORDS_OF_A_SENTENCE[decile : decile + 2])
    return " ".join(
        "".join(draw.choices(string.ascii_lowercase, k=draw.randint(1, 9))) for _ in range(words)
    )
