"""Stage `distil`: the student learns the teacher's logits and features (Hinton et al., 2015).

Targets of a text are shown under random surface forms of it, so the student learns to answer them
all alike; the features are matched as in Sun et al., "Patient Knowledge Distillation", EMNLP 2019.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import RobertaForSequenceClassification

from lab.training.batches import Batch, Example, make_batches
from lab.training.corpus import Text, read_tsv
from lab.training.glue import Gluer
from lab.training.loop import Run, Task
from lab.training.plain import DEV_BATCH_TOKENS, examples, read_examples
from lab.training.reviews import excerpts
from lab.training.settings import Mix, Schedule
from lab.training.stages import Figures
from lab.training.student import load_student
from lab.training.texts import surface
from lab.training.tokenizer import load_tokenizer

SHORT = 3
"""Texts of up to this many words are shown in a part of the epochs only."""


class Distiller(nn.Module):
    """The student and a projection of its `<s>` state into the teacher's features."""

    def __init__(self, student: RobertaForSequenceClassification, width: int) -> None:
        super().__init__()
        self.student = student
        self.projection = nn.Linear(student.config.hidden_size, width) if width else None

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask, int64 [texts, tokens] -> float [texts, 2 + width]."""
        states = self.student.roberta(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = self.student.classifier(states)
        if not self.training or self.projection is None:
            return logits
        return torch.cat([logits.float(), self.projection(states[:, 0]).float()], dim=1)


def distiller_outputs(model: nn.Module, batch: Batch) -> Tensor:
    """The student's logits and, in training, projected features."""
    outputs: Tensor = model(batch.ids, batch.mask)
    return outputs


class DistillationLoss:
    """Divergence from the teacher's answer, distance from its features, and the labels."""

    def __init__(self, features: Tensor, mix: Mix) -> None:
        self._features, self._mix = features, mix

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs, float [texts, 2 + width] -> scalar."""
        logits, projected = outputs[:, :2], outputs[:, 2:]
        taught = ~batch.targets.isnan().any(dim=1)
        seen = batch.sources >= 0
        loss = self._labels(logits, batch.labels, taught)
        if bool(taught.any()):
            share = taught.float().mean()
            loss = loss + share * self._divergence(logits[taught], batch.targets[taught])
        if self._features.shape[1] and bool(seen.any()):
            wanted = self._features[batch.sources[seen]].float()
            near = nn.functional.cosine_similarity(projected[seen], wanted, dim=1)
            loss = loss + self._mix.features * (1 - near).mean()
        return loss

    def _labels(self, logits: Tensor, labels: Tensor, taught: Tensor) -> Tensor:
        """Cross-entropy; a label weighs less where there is a teacher's answer, too."""
        weights = torch.where(taught, self._mix.labels, 1.0) * (labels >= 0)
        losses = nn.functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
        return (weights * losses).mean()

    def _divergence(self, logits: Tensor, targets: Tensor) -> Tensor:
        heat = self._mix.temperature
        return heat**2 * nn.functional.kl_div(
            nn.functional.log_softmax(logits / heat, dim=1),
            nn.functional.softmax(targets / heat, dim=1),
            reduction="batchmean",
        )


def read_labels(folder: Path) -> tuple[list[Example], Tensor]:
    """The teacher's texts with its logits, and its features, centred, float16 [texts, 768]."""
    rows = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    features = np.load(folder / "features.npy").astype(np.float32)
    features -= features.mean(axis=0)
    taught = [
        Example(text, label, (negative, positive), at)
        for at, (text, label, negative, positive) in enumerate(rows)
    ]
    return taught, torch.from_numpy(features.astype(np.float16))


def epoch_texts(
    taught: list[Example], reviews: list[Text], mix: Mix, draw: random.Random
) -> list[Example]:
    """Surface forms of the texts, glued ones, and parts of reviews."""
    gluer = Gluer(taught)
    shown = [
        Example(surface(e.text, draw), e.label, e.target, e.source)
        for e in taught
        if len(e.text.split()) > SHORT or draw.random() < mix.short_share
    ]
    shown += [gluer.text(draw.randint(20, 90), draw) for _ in range(mix.pairs)]
    shown += [gluer.text(draw.randint(90, 400), draw) for _ in range(mix.reviews)]
    return shown + examples(excerpts(reviews, mix.excerpts, mix.excerpt_words, draw))


def dev_sets(corpus: Path, bpe: Tokenizer, reviews: int) -> list[list[Batch]]:
    """SST-2 dev, and as many of the reviews that were set aside."""
    texts = read_examples(corpus / "dev.tsv")
    held = read_examples(corpus / "reviews_dev.tsv")[:reviews]
    return [make_batches(part, bpe, 64, DEV_BATCH_TOKENS, None) for part in (texts, held) if part]


def distil(
    folder: Path,
    start: Path,
    labels: Path,
    corpus: Path,
    tokenizer: Path,
    schedule: Schedule,
    mix: Mix,
    seed: int,
    console: Console,
) -> Figures:
    """Train the student from `start`; write the best weights on dev into `folder`."""
    torch.manual_seed(seed)
    bpe = load_tokenizer(tokenizer)
    taught, features = read_labels(labels)
    reviews = read_tsv(corpus / "reviews.tsv")

    def epoch(number: int) -> list[Batch]:
        draw = random.Random(seed * 1000 + number)
        shown = epoch_texts(taught, reviews, mix, draw)
        return make_batches(shown, bpe, schedule.batch_size, schedule.batch_tokens, draw)

    model = Distiller(load_student(start, schedule.dropout), features.shape[1])
    dev = dev_sets(corpus, bpe, mix.reviews_judged)
    task = Task(distiller_outputs, DistillationLoss(features, mix), epoch, dev)
    figures = Run(model, schedule, task, folder).fit(console)
    for name in ("last", "best"):
        model.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
        model.student.save_pretrained(folder if name == "best" else folder / name)
    return figures
