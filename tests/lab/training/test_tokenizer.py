"""The student's tokenizer: one form for every spelling of a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="only the tests' own environment has it")

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lab.training.texts import (
    first_upper,
    html_breaks,
    natural,
    spell_out_not,
    typographic_quotes,
)
from lab.training.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer, word_counts

SENTENCES = (
    "it is n't a \" bad \" film , and i do n't think we 'll see a better one .",
    "you ca n't look away ; it wo n't let you !",
    "the actors ' work is so-so , the score ( by an old master ) is n't .",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A small one, trained on the sentences."""
    return train_tokenizer(word_counts(SENTENCES, []), 400)


@pytest.mark.parametrize(
    "form",
    [
        str.upper,
        str.title,
        str.lower,
        first_upper,
        natural,
        typographic_quotes,
        spell_out_not,
        html_breaks,
        lambda text: natural(text).upper(),
        lambda text: typographic_quotes(text).title(),
        lambda text: f"  {text.replace(' ', '  ')}",
        lambda text: text.replace(" ", "\n", 1),
        lambda text: text.replace(" ", "\u00a0"),
    ],
    ids=[
        "capitals",
        "title case",
        "lower case",
        "first letter",
        "as people write",
        "curly quotes",
        "not spelt out",
        "HTML breaks",
        "written in capitals",
        "curly in title case",
        "blanks doubled",
        "a line break",
        "no-break blanks",
    ],
)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_form_has_the_tokens_of_the_sentence(
    tokenizer: Tokenizer, sentence: str, form: Callable[[str], str]
) -> None:
    """What differs in case, quotes, contraction or breaks only gets the same answer."""
    words = _words(tokenizer, sentence)
    assert words == _words(tokenizer, form(sentence))


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Tokens without the blanks that stand apart and the quotes, whose blanks the forms move."""
    joined = "".join(tokenizer.encode(text, add_special_tokens=False).tokens)
    return joined.translate(dict.fromkeys(map(ord, "\u0120\"'("), " ")).split()


def test_accents_and_full_width_letters_are_plain_letters(tokenizer: Tokenizer) -> None:
    """`CAF\u00c9` typed on any keyboard is one word."""
    wanted = tokenizer.encode("a cafe film").ids
    assert wanted == tokenizer.encode("A CAF\u00c9 \uff46\uff49\uff4c\uff4d").ids
    assert wanted == tokenizer.encode("a cafe\u0301 film").ids


@given(st.text(max_size=60))
def test_any_text_has_tokens_and_none_is_unknown(tokenizer: Tokenizer, text: str) -> None:
    """Byte-level tokens spell whatever is sent."""
    encoded = tokenizer.encode(text)
    assert encoded.ids[0] == tokenizer.token_to_id("<s>")
    assert encoded.ids[-1] == tokenizer.token_to_id("</s>")
    assert tokenizer.token_to_id("<unk>") not in encoded.ids


def test_the_saved_files_give_the_same_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """tokenizer.json holds the normalizer; files that would lose it are not written."""
    save_tokenizer(tokenizer, tmp_path)
    assert {"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"} == {
        path.name for path in tmp_path.iterdir()
    }
    loaded = load_tokenizer(tmp_path)
    for sentence in SENTENCES:
        assert tokenizer.encode(sentence).ids == loaded.encode(sentence.upper()).ids


def test_transformers_loads_the_same_tokenizer(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would build a new RoBERTa tokenizer, without the normalizer."""
    transformers = pytest.importorskip("transformers")
    save_tokenizer(tokenizer, tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for sentence in (*SENTENCES, SENTENCES[0].upper()):
        assert tokenizer.encode(sentence).ids == loaded(sentence)["input_ids"]


def test_common_words_become_one_token_each() -> None:
    """Words of the list count although no text holds them."""
    words = ["[PAD]"] * 1996 + ["splendid", "dreadful"]
    tokenizer = train_tokenizer(word_counts(SENTENCES, words), 600)
    assert ["\u0120splendid", "\u0120dreadful"] == tokenizer.encode(
        "Splendid dreadful", add_special_tokens=False
    ).tokens
