"""Stage `tokenizer`: a byte-level BPE for text in lower case, whatever case and signs it came in.

A normalizer, part of tokenizer.json, writes every text in one form before it is cut: lower case, no
accents, straight quotes, `not` for `n't`, no HTML breaks, no blank before a closing sign. What
differs only in these has the same tokens, and so the same answer, and the whole vocabulary is left
for words. Byte-level BPE (Sennrich et al., ACL 2016; Radford et al., 2019) learns from word counts,
here those of the training text and of MiniLM's word list.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from lab.training.corpus import read_tsv
from lab.training.settings import MAX_TOKENS
from lab.training.stages import Figures

START, PAD, END, UNKNOWN_TOKEN, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
SPECIAL = [START, PAD, END, UNKNOWN_TOKEN]
BARE = 0.05
"""How often a word is taken to occur without a blank before it, per occurrence with one."""
LIST_SCALE = 6000.0
"""Zipf constant: the word of rank r on MiniLM's list counts LIST_SCALE / r more."""
_FIRST_WORD = 1996
"""Where the words begin in BERT's vocabulary: [unused] entries and characters come before."""


def _normalizer() -> normalizers.Normalizer:
    """One form for all spellings of a text; the tokens are then alike.

    Every rule looks at one word and its neighbours only, and a run of blanks keeps its length: the
    first tokens of a long text never depend on its end. A run is tried from its first blank alone,
    or long ones would take time by the square of their length.
    """
    rules = (
        (r"(?<!\s)\s*(?:<(?:br|/?p)\s?/?>\s*)+|[\t\n\r]", " "),
        ("[\u2018\u2019\u02bc\u0060\u00b4]", "'"),
        ("[\u201c\u201d\u201e\u00ab\u00bb]", '"'),
        (r"\bwo(?=\s*n't\b)", "will"),
        (r"\bca(?=\s*n't\b)|\bcan(?=not\b)", "can "),
        (r"(?<!\s)\s*n't\b", " not"),
        (r"(?<!\s)\s+(?=[.,;:!?)\]%]|'(?:s|re|ve|ll|d|m)\b)", ""),
    )
    form = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    replacements = [normalizers.Replace(Regex(pattern), text) for pattern, text in rules]
    return normalizers.Sequence([*form, *replacements])


def word_counts(texts: Iterable[str], word_list: list[str]) -> Counter[str]:
    """Counts of normalized words: those of the texts, plus a Zipf share for the list's words."""
    counts: Counter[str] = Counter()
    normalizer = _normalizer()
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=True)
    for text in set(texts):
        pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(piece.removeprefix("Ġ") for piece, _ in pieces)
    for rank, word in enumerate(word_list[_FIRST_WORD:], start=1):
        if word.isascii() and word.isalpha():
            counts[word] += round(LIST_SCALE / rank)
    return counts


def _lines(counts: Counter[str]) -> Iterator[str]:
    """Text in which each word occurs as often as its count says, after a blank or without one."""
    for word, count in counts.items():
        yield f" {word}" * count
        yield from [word] * round(count * BARE)


def train_tokenizer(counts: Counter[str], size: int) -> Tokenizer:
    """A RoBERTa tokenizer of `size` entries: <s> 0, <pad> 1, </s> 2, <unk> 3, <mask> last."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_lines(counts), trainer)
    state = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = state["vocab"]
    vocabulary[MASK] = len(vocabulary)
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*SPECIAL, MASK])
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=(END, vocabulary[END]),
        cls_token=(START, vocabulary[START]),
        trim_offsets=True,
        add_prefix_space=True,
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and the two small configuration files.

    No vocab.json and merges.txt: a tokenizer made from them would lack the normalizer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    names = {
        "bos_token": START,
        "cls_token": START,
        "eos_token": END,
        "sep_token": END,
        "pad_token": PAD,
        "unk_token": UNKNOWN_TOKEN,
        "mask_token": MASK,
    }
    config = {
        **names,
        "add_prefix_space": True,
        "model_max_length": MAX_TOKENS,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, content in (("special_tokens_map.json", names), ("tokenizer_config.json", config)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model directory, truncating to `MAX_TOKENS`."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def build_tokenizer(folder: Path, corpus: Path, word_list: Path, size: int) -> Figures:
    """Train on the corpus, write the tokenizer's files into `folder`."""
    files = ("labelled.tsv", "unlabelled.tsv", "reviews.tsv")
    texts = [text.text for name in files for text in read_tsv(corpus / name)]
    counts = word_counts(texts, word_list.read_text(encoding="utf-8").splitlines())
    tokenizer = train_tokenizer(counts, size)
    save_tokenizer(tokenizer, folder)
    encoded = tokenizer.encode_batch([text.text for text in read_tsv(corpus / "dev.tsv")])
    words = sum(len(text.text.split()) for text in read_tsv(corpus / "dev.tsv"))
    return {
        "vocabulary": tokenizer.get_vocab_size(),
        "tokens_a_word_on_dev": round(sum(len(e.ids) - 2 for e in encoded) / words, 4),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }
