"""Stage `labels`: the teacher's answer to every training text."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from tokenizers import Tokenizer
from torch import nn

from lab.training.batches import Example, make_batches
from lab.training.corpus import UNKNOWN, Guard, Text, read_tsv
from lab.training.loop import Forward, predict
from lab.training.reviews import excerpts, read_unlabelled, sentences
from lab.training.settings import Lesson
from lab.training.stages import Figures
from lab.training.teacher import LONG, load_teacher, teacher_outputs, teacher_tokenizer
from lab.training.texts import drop_words, key

Floats = NDArray[np.float32]
LABEL_TOKENS = 2048
"""Most tokens in a batch, padding included."""


def _wanted(corpus: Path, unlabelled: Path, lesson: Lesson, seed: int) -> list[Text]:
    """Every training text, sentences with words dropped, and parts and sentences of reviews."""
    draw = random.Random(seed)
    known = read_tsv(corpus / "labelled.tsv") + read_tsv(corpus / "unlabelled.tsv")
    long = [text for text in known if len(text.text.split()) >= LONG]
    chosen = draw.sample(long, min(len(long), lesson.dropped))
    dropped = [drop_words(text.text, draw) for text in chosen]
    reviews = read_tsv(corpus / "reviews.tsv")
    parts = excerpts(reviews, lesson.labelled_excerpts, lesson.excerpt_words, draw)
    found = sentences(read_unlabelled(unlabelled), lesson.labelled_sentences, draw)
    guard = Guard(read_tsv(corpus / "dev.tsv") + read_tsv(corpus / "heldout.tsv"))
    free = [text for text in dropped + found if not guard.touches(text)]
    return known + parts + [Text(UNKNOWN, text) for text in free]


def _same(texts: list[Text]) -> tuple[list[int], list[int]]:
    """Rows that stand for all texts, and for each text its index among them.

    Texts that differ in case, blanks and punctuation only are labelled once: the student is to
    answer all of them alike.
    """
    indexes: dict[str, int] = {}
    rows: list[int] = []
    chosen: list[int] = []
    for row, text in enumerate(texts):
        name = key(text.text) or text.text
        if name not in indexes:
            indexes[name] = len(chosen)
            chosen.append(row)
        rows.append(indexes[name])
    return chosen, rows


def _answers(texts: list[Text], tokenizer: Tokenizer, model: nn.Module, forward: Forward) -> Floats:
    """What `forward` gives for each text, float32 [texts, 2 or more]."""
    chosen, indexes = _same(texts)
    examples = [Example(texts[row].text, texts[row].label) for row in chosen]
    batches = make_batches(examples, tokenizer, 64, LABEL_TOKENS, None)
    rows: dict[int, Floats] = {}
    found = predict(model, forward, batches)
    for batch, values in track(found, total=len(batches), description="labelling"):
        rows.update(zip(batch.rows, values.numpy(), strict=True))
    return np.stack([rows[row] for row in indexes])


def _write(folder: Path, texts: list[Text], outputs: Floats) -> Figures:
    logits = outputs[:, :2]
    rows = [(t.text, t.label, *pair) for t, pair in zip(texts, logits.tolist(), strict=True)]
    (folder / "labels.json").write_text(json.dumps(rows), encoding="utf-8")
    np.save(folder / "features.npy", outputs[:, 2:].astype(np.float16))
    labels = np.array([text.label for text in texts])
    agreed = (logits.argmax(axis=1) == labels)[labels != UNKNOWN].mean()
    return {"texts": len(rows), "agreement_with_labels": round(float(agreed), 4)}


def label_by_teacher(
    folder: Path,
    mpnet: Path,
    teacher: Path,
    corpus: Path,
    unlabelled: Path,
    lesson: Lesson,
    seed: int,
) -> Figures:
    """Write labels.json and features.npy.

    labels.json is a list of [text, label, negative logit, positive logit]; features.npy holds the
    teacher's pooled states in the same order, float16 [texts, 768].
    """
    texts = _wanted(corpus, unlabelled, lesson, seed)
    model = load_teacher(mpnet, teacher)
    return _write(folder, texts, _answers(texts, teacher_tokenizer(mpnet), model, teacher_outputs))
