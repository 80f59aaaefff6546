"""Stage `tokenizer`: a byte-level BPE whose tokens are whole words in the forms that reviews use.

Byte-level BPE (Sennrich et al., ACL 2016; Radford et al., 2019) learns from word counts. The counts
here come from the training text and from MiniLM's word list, each word written as ` word`, ` Word`,
`word`, `Word` and, with less weight, in capitals, so that a common word is one token in lower case
and capitalised, after a space and at the start of a text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lab.training.corpus import Text, read_tsv
from lab.training.settings import MAX_TOKENS
from lab.training.stages import Figures
from lab.training.texts import natural

START, PAD, END, UNKNOWN_TOKEN, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
SPECIAL = [START, PAD, END, UNKNOWN_TOKEN]
FORM_WEIGHTS = {"Ġupper": 0.30, "lower": 0.12, "upper": 0.22, "Ġcaps": 0.04, "caps": 0.02}
"""How often a word is taken to occur as ` Word`, `word`, `Word`, ` WORD`, `WORD`, per ` word`."""
LIST_SCALE = 6000.0
"""Zipf constant: the word of rank r on MiniLM's list counts LIST_SCALE / r more."""
_FIRST_WORD = 1996
"""Where the words begin in BERT's vocabulary: [unused] entries and characters come before."""


def word_counts(texts: list[Text], word_list: list[str]) -> Counter[str]:
    """Counts of lower-case words: those of the text, plus a Zipf share for the list's words."""
    counts: Counter[str] = Counter()
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=True)
    for text in {natural(text.text).lower() for text in texts}:
        for piece, _ in splitter.pre_tokenize_str(text):
            counts[piece.removeprefix("Ġ")] += 1
    for rank, word in enumerate(word_list[_FIRST_WORD:], start=1):
        if word.isascii() and word.isalpha():
            counts[word] += round(LIST_SCALE / rank)
    return counts


def _lines(counts: Counter[str]) -> Iterator[str]:
    """Text in which each word occurs in each form as often as its count and weight say."""
    for word, count in counts.items():
        if not (word.isascii() and word.isalpha()):
            yield f" {word}" * count
            continue
        yield f" {word}" * count
        yield f" {word.capitalize()}" * round(count * FORM_WEIGHTS["Ġupper"])
        yield from [word] * round(count * FORM_WEIGHTS["lower"])
        yield from [word.capitalize()] * round(count * FORM_WEIGHTS["upper"])
        yield f" {word.upper()}" * round(count * FORM_WEIGHTS["Ġcaps"])
        yield from [word.upper()] * round(count * FORM_WEIGHTS["caps"])


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
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*SPECIAL, MASK])
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=(END, vocabulary[END]),
        cls_token=(START, vocabulary[START]),
        trim_offsets=True,
        add_prefix_space=False,
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, vocab.json, merges.txt and the two small configuration files."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    tokenizer.model.save(str(folder))
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
        "add_prefix_space": False,
        "errors": "replace",
        "model_max_length": MAX_TOKENS,
        "tokenizer_class": "RobertaTokenizer",
        "trim_offsets": True,
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
    texts = read_tsv(corpus / "labelled.tsv") + read_tsv(corpus / "unlabelled.tsv")
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
