"""Long texts are read in part, and get the tokens of the whole."""

from __future__ import annotations

import functools
import re
import tarfile
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from roberta_sentiment.errors import (
    TextError,
    TextTooLargeError,
    TextTooLongError,
    TooManyWindowsError,
)
from roberta_sentiment.model.artifact import DEFAULT_MODEL
from roberta_sentiment.settings import Truncation
from roberta_sentiment.text.long_texts import LongTexts
from roberta_sentiment.text.tokenizer import WHOLE_BYTES, RobertaTokenizer
from tests import families, toy

LIMIT, OVERLAP, MAX_WINDOWS = 16, 4, 6
NAMES = ["default", "bert", "camembert", "deberta-v2", "modernbert", "xlm-roberta"]

FRAGMENTS = [
    "good ", "Film", "characteristically ", "a", " ", "  ", "\t\n", "\u3000", "\u00a0 ",
    "\u4e2d\u6587", "\u9f98", "\U00020000", "\u1100\u1161", "\uac00", "\u0e01\u0e33",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f",
    "e\u0301", "\u0316\u0301", "\u0301", "n\u0303o ", "\u0130", "\ufb01", "\u212b", "\ufdfa",
    "don't", "'", "'ll", "''s ", "1234567890", "3.14 ", "!?", "...", "_", "--- ", "\u2014",
    "<s>", "</s>", " <mask>", "[MASK]", "[UNK] ", "<pad>x", "\u2581", "\u0120", "##a", "\x7f",
    "\u200b", "\ufeff", "\ufffd", "\u202e", "https://a.b/c?d=e&f ", "\r\n", "AAAA", "xX",
]  # fmt: skip

fragments = st.sampled_from(FRAGMENTS) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8
)
runs = st.tuples(st.lists(fragments, min_size=1, max_size=4).map("".join), st.integers(1, 2500))
texts = st.lists(runs, min_size=1, max_size=5).map(
    lambda drawn: "".join((unit * times)[:2500] for unit, times in drawn)
)


@functools.cache
def backend(name: str) -> Tokenizer:
    """The embedded model's tokenizer, or that of a family's tiny model."""
    if name == "default":
        return Tokenizer.from_file(str(DEFAULT_MODEL / "tokenizer.json"))
    with tarfile.open(families.FOLDER / f"{name}.tar.xz") as archive:
        member = next(m for m in archive if m.name.endswith("/tokenizer.json"))
        content = archive.extractfile(member)
        assert content is not None
        return Tokenizer.from_buffer(content.read())


@functools.cache
def cutting(name: str) -> RobertaTokenizer:
    """It reads a text of more than 64 bytes in part where that is worth while."""
    return RobertaTokenizer(backend(name), limit=LIMIT, overlap=OVERLAP, whole_bytes=64)


@functools.cache
def reading_all(name: str) -> RobertaTokenizer:
    return RobertaTokenizer(backend(name), limit=LIMIT, overlap=OVERLAP, whole_bytes=10**9)


def outcome(tokenizer: RobertaTokenizer, text: str, truncation: Truncation) -> Any:
    """The ids of each window, and whether something was cut; else the kind of refusal."""
    try:
        (encoded,) = tokenizer.encode([text], truncation, max_windows=MAX_WINDOWS)
    except (TextTooLongError, TooManyWindowsError) as error:
        return type(error)
    return encoded.windows, encoded.truncated


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(text=texts, truncation=st.sampled_from(get_args(Truncation)))
def test_a_part_gives_the_ids_of_the_whole(name: str, truncation: Truncation, text: str) -> None:
    """Whatever the text is made of, for every kind of tokenizer and every truncation."""
    assume(text.strip())
    expected = outcome(reading_all(name), text, truncation)
    assert expected == outcome(cutting(name), text, truncation)


@pytest.mark.parametrize(
    "text",
    [
        "\u0316\u0301\u0130" * 900,
        "a" * 5000,
        "good,film." * 500,
        "\u4e2d\u6587" * 2000,
        "\u4e2d" + "a" * 3000 + "\u4e2d",
        "good " * 30 + "b\u0301" * 2000 + " film" * 30,
    ],
    ids=["combining", "one word", "punctuation", "ideographs", "both", "in the middle"],
)
@pytest.mark.parametrize("truncation", get_args(Truncation))
def test_a_long_word_is_not_cut(truncation: Truncation, text: str) -> None:
    """WordPiece makes one unknown token of a word with more than 100 letters."""
    expected = outcome(reading_all("bert"), text, truncation)
    assert expected == outcome(cutting("bert"), text, truncation)


class Counting:
    """Encodes a text as its characters, and counts those it has read."""

    def __init__(self, name: str) -> None:
        self.read = self.longest = 0
        self._tokenizer = backend(name)

    def __call__(self, text: str) -> list[int]:
        self.read += len(text)
        self.longest = max(self.longest, len(text))
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


MEGABYTES = [
    pytest.param("\u9f98\u4e2d\u9fa5" * 300_000, id="CJK"),
    pytest.param("\U0001f468\u200d\U0001f469 " * 200_000, id="emoji"),
    pytest.param("good " * 200_000, id="words"),
    pytest.param("a" * 900_000, id="one word"),
    pytest.param(" " * 900_000 + "x", id="blanks"),
    pytest.param("'" * 900_000, id="quotes"),
    pytest.param("e\u0301\u0316" * 300_000, id="marks"),
]


@pytest.mark.parametrize("text", MEGABYTES)
def test_little_is_read_of_megabytes(text: str) -> None:
    """Memory and time are bounded by what the model takes, not by what was sent."""
    encode = Counting("default")
    part = LongTexts(encode, longest_token=20, most_bytes=0).first(text, 511)
    assert part is not None
    assert not part.whole
    assert len(part.ids) >= 511
    blanks = text.startswith("  ")  # 511 tokens of 64 blanks are 32,704, cut at each of 21 places
    assert encode.longest <= (60_000 if blanks else 30_000)
    assert encode.read <= (22 * 60_000 if blanks else 300_000)


def test_a_text_that_no_part_decides_is_refused() -> None:
    """Its last tokens depend on how many there are; encoding all would take the pod's memory."""
    text = "\u2026" * 900_000
    tokenizer = RobertaTokenizer(Tokenizer.from_str(pairs()), limit=LIMIT, overlap=OVERLAP)
    with pytest.raises(TextTooLargeError, match="text 1 is one word of more than 2097152 bytes"):
        tokenizer.encode(["good", text], "start")
    (end,) = tokenizer.encode([text], "end")
    assert [LIMIT] == [len(window) for window in end.windows]


def test_little_is_read_of_a_text_that_no_part_decides() -> None:
    """Eight megabytes of one sign took 22 seconds of a CPU before they were refused."""
    read: list[int] = []

    def by_length(text: str) -> list[int]:
        read.append(len(text))
        return [len(text)] * len(text)

    cut = LongTexts(by_length, longest_token=8, most_bytes=0)
    assert cut.last("a" * 2**23, 512) is None
    assert cut.first("a" * 2**23, 512) is None
    assert len(read) <= 16
    assert sum(read) <= 2**19


def pairs() -> str:
    """A tokenizer that joins two equal bytes, and two such pairs, and so on, so that the last
    tokens of a run depend on its length.
    """
    vocabulary = toy.vocabulary()
    merges = []
    unit = "\u00e2\u0122\u00a6"  # the three bytes of an ellipsis as byte-level BPE writes them
    for left, right in ((unit[0], unit[1]), (unit[:2], unit[2]), (unit, unit), (unit * 2, unit)):
        vocabulary[left + right] = len(vocabulary)
        merges.append((left, right))
    made = toy.tokenizer()
    made.model = models.BPE(vocab=vocabulary, merges=merges)
    return str(made.to_str())


def test_a_text_up_to_the_bound_is_counted_exactly() -> None:
    """The tag `tokens` is the length of the whole text, truncated or not."""
    tokenizer = RobertaTokenizer(backend("default"), limit=LIMIT, overlap=OVERLAP)
    text = "good " * (WHOLE_BYTES // 5)
    (encoded,) = tokenizer.encode([text], "end")
    assert len(backend("default").encode(text).ids) == encoded.tokens
    assert encoded.truncated


@pytest.mark.parametrize("truncation", ["end", "start", "middle"])
def test_the_tokens_of_a_longer_text_are_a_lower_bound(truncation: Truncation) -> None:
    """Those that were read: more than the model takes, and no more than there are."""
    tokenizer = RobertaTokenizer(backend("default"), limit=LIMIT, overlap=OVERLAP)
    text = "good " * (WHOLE_BYTES // 5 + 1)
    (encoded,) = tokenizer.encode([text], truncation)
    assert LIMIT < encoded.tokens < len(backend("default").encode(text).ids)
    assert encoded.truncated


def test_many_texts_are_encoded_few_at_a_time() -> None:
    """A thousand texts of a request are as long together as one that is cut."""
    drawn = ["\u4e2d" * n for n in (1, 500, 30_000, 2, 44_000, 3, 700, 43_000)]
    tokenizer = RobertaTokenizer(backend("default"), limit=LIMIT, overlap=OVERLAP)
    sizes: list[int] = []
    take = tokenizer._memory.take

    def counting(amount: int) -> Any:
        sizes.append(amount)
        return take(amount)

    tokenizer._memory.take = counting  # type: ignore[method-assign]
    together = tokenizer.encode(drawn, "end")
    assert [tokenizer.encode([text], "end")[0].windows for text in drawn] == [
        text.windows for text in together
    ]
    assert max(sizes) * 3 <= WHOLE_BYTES


def test_a_lone_surrogate_behind_the_cut_is_named() -> None:
    """It would be refused in a short text, so it is in a long one."""
    with pytest.raises(TextError, match="text 1 holds a lone surrogate at character 200000"):
        reading = RobertaTokenizer(backend("default"), limit=LIMIT, overlap=OVERLAP)
        reading.encode(["good", "a" * 200_000 + "\ud800"], "end")


def joined_words(text: str) -> list[int]:
    """Ids of an encoder that joins two words into one token, as Unigram may."""
    return [hash(word) for word in re.findall(r"new york|\w+", text)]


@pytest.mark.parametrize("lead", ["", "a ", "ab ", "new "])
@pytest.mark.parametrize("shift", range(9))
def test_a_cut_inside_a_token_of_two_words_is_noticed(lead: str, shift: int) -> None:
    """A blank between two words may stand inside a token; another cut shows it."""
    text = lead + "new york " * 500
    cut = LongTexts(joined_words, longest_token=8, most_bytes=10**6)
    whole = joined_words(text)
    first, last = cut.first(text, 5 + shift), cut.last(text, 5 + shift)
    assert first and last and not first.whole and not last.whole
    assert whole[: len(first.ids)] == first.ids
    assert whole[-len(last.ids) :] == last.ids
    assert min(len(first.ids), len(last.ids)) >= 5 + shift
