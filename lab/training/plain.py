"""Stage `first`: the plain recipe, cross-entropy on the labelled texts, one epoch."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from lab.training.batches import Batch, Example, make_batches
from lab.training.corpus import Text, read_tsv
from lab.training.loop import Run, Task
from lab.training.settings import Schedule
from lab.training.stages import Figures
from lab.training.student import load_student
from lab.training.texts import surface
from lab.training.tokenizer import load_tokenizer

DEV_BATCH_TOKENS = 4096


def student_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of the student, float [texts, 2]."""
    logits: Tensor = model(input_ids=batch.ids, attention_mask=batch.mask).logits
    return logits


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy with the labels."""
    return nn.functional.cross_entropy(logits, batch.labels)


def examples(texts: list[Text]) -> list[Example]:
    """Labelled texts without a teacher's logits."""
    return [Example(text.text, text.label) for text in texts]


def read_examples(path: Path) -> list[Example]:
    """The same from a file."""
    return examples(read_tsv(path))


def train_plain(
    folder: Path,
    start: Path,
    corpus: Path,
    tokenizer: Path,
    schedule: Schedule,
    seed: int,
    console: Console,
) -> Figures:
    """Train the student on labels alone; write a model directory's weights into `folder`."""
    torch.manual_seed(seed)
    bpe = load_tokenizer(tokenizer)
    labelled = read_tsv(corpus / "labelled.tsv")

    def epoch(number: int) -> list[Batch]:
        draw = random.Random(seed * 1000 + number)
        shown = [Example(surface(text.text, draw), text.label) for text in labelled]
        return make_batches(shown, bpe, schedule.batch_size, schedule.batch_tokens, draw)

    dev = make_batches(read_examples(corpus / "dev.tsv"), bpe, 64, DEV_BATCH_TOKENS, None)
    model = load_student(start, schedule.dropout)
    figures = Run(model, schedule, Task(student_logits, cross_entropy, epoch, [dev]), folder).fit(
        console
    )
    model.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    model.save_pretrained(folder)
    return figures
