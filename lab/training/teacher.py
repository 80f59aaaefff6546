"""Stage `teacher`: fine-tune all-mpnet-base-v2."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import MPNetConfig, MPNetModel

from lab.training.batches import Batch, Example, make_batches
from lab.training.corpus import read_tsv
from lab.training.loop import Run, Task
from lab.training.plain import cross_entropy, examples, read_examples
from lab.training.reviews import excerpts
from lab.training.settings import Lesson, Schedule
from lab.training.stages import Figures
from lab.training.texts import natural

MAX_TEACHER_TOKENS = 256
LONG = 8
"""Texts of this many words or more are all used; of the shorter ones a part."""
FROZEN_LAYERS = 2
"""Lowest layers that keep their weights, with the embeddings: they cost time and change little."""


class Teacher(nn.Module):
    """MPNet (Song et al., NeurIPS 2020), mean-pooled as in all-mpnet-base-v2, and a linear head."""

    def __init__(self, config: MPNetConfig) -> None:
        super().__init__()
        self.encoder = MPNetModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(config.hidden_size, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask, int64 [texts, tokens] -> float [texts, 2 + 768]: logits, then features."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return torch.cat([self.head(self.dropout(pooled)).float(), pooled.float()], dim=1)


def teacher_outputs(model: nn.Module, batch: Batch) -> Tensor:
    """The teacher's logits and pooled features, float [texts, 2 + 768]."""
    outputs: Tensor = model(batch.ids, batch.mask)
    return outputs


def _loss(outputs: Tensor, batch: Batch) -> Tensor:
    return cross_entropy(outputs[:, :2], batch)


def _config(mpnet: Path, dropout: float) -> MPNetConfig:
    shape = json.loads((mpnet / "config.json").read_text(encoding="utf-8"))
    shape |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": 0.0}
    config = MPNetConfig(**shape)
    config._attn_implementation = "eager"
    return config


def new_teacher(mpnet: Path, dropout: float) -> Teacher:
    """all-mpnet-base-v2 with a fresh head; embeddings and the lowest layers frozen."""
    model = Teacher(_config(mpnet, dropout))
    report = model.encoder.load_state_dict(load_file(mpnet / "model.safetensors"), strict=False)
    if report.missing_keys:
        raise SystemExit(f"all-mpnet-base-v2 lacks {report.missing_keys}")
    model.encoder.embeddings.requires_grad_(False)
    for layer in model.encoder.encoder.layer[:FROZEN_LAYERS]:
        layer.requires_grad_(False)
    return model


def load_teacher(mpnet: Path, folder: Path) -> Teacher:
    """The fine-tuned teacher."""
    model = Teacher(_config(mpnet, 0.0))
    model.load_state_dict(load_file(folder / "teacher.safetensors"))
    return model.eval()


def teacher_tokenizer(mpnet: Path) -> Tokenizer:
    """Its tokenizer, truncating."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(mpnet / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TEACHER_TOKENS)
    return tokenizer


def _sentences(examples: list[Example], share: float, draw: random.Random) -> list[Example]:
    """All texts of `LONG` words or more and a share of the shorter ones, some in written form."""
    kept = [e for e in examples if len(e.text.split()) >= LONG or draw.random() < share]
    return [Example(natural(e.text), e.label) if draw.random() < 0.3 else e for e in kept]


def train_teacher(
    folder: Path,
    mpnet: Path,
    corpus: Path,
    schedule: Schedule,
    lesson: Lesson,
    seed: int,
    console: Console,
) -> Figures:
    """Fine-tune on labels; write the best weights on dev as teacher.safetensors."""
    torch.manual_seed(seed)
    tokenizer = teacher_tokenizer(mpnet)
    labelled = read_examples(corpus / "labelled.tsv")
    reviews = read_tsv(corpus / "reviews.tsv")

    def epoch(number: int) -> list[Batch]:
        draw = random.Random(seed * 1000 + number)
        shown = _sentences(labelled, lesson.short_share, draw)
        shown += examples(excerpts(reviews, lesson.excerpts, lesson.excerpt_words, draw))
        return make_batches(shown, tokenizer, schedule.batch_size, schedule.batch_tokens, draw)

    batches = epoch(0)
    tokens = sum(batch.ids.numel() for batch in batches)
    texts = sum(len(batch.rows) for batch in batches)
    console.print(f"{texts} texts, {tokens} tokens with padding, {len(batches)} steps an epoch")
    dev = make_batches(read_examples(corpus / "dev.tsv"), tokenizer, 64, 2048, None)
    model = new_teacher(mpnet, schedule.dropout)
    task = Task(teacher_outputs, _loss, epoch, [dev])
    figures = Run(model, schedule, task, folder).fit(console)
    best = torch.load(folder / "best.pt", weights_only=True)
    save_file(best, folder / "teacher.safetensors")
    return {"texts": texts, "tokens": tokens, **figures}
