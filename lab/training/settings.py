"""Every number that shapes the training, in one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ID_TO_LABEL: dict[int, str] = {0: "negative", 1: "positive"}
MAX_TOKENS = 512
"""Longest input in tokens; RoBERTa needs two position rows more (514)."""


@dataclass(frozen=True)
class Schedule:
    """One optimisation run."""

    epochs: int
    """Passes over the training texts."""
    batch_size: int
    """Texts in a batch; long texts are batched fewer at a time, see `batch_tokens`."""
    batch_tokens: int
    """Most tokens in a batch, padding included."""
    learning_rate: float
    """Peak learning rate of the encoder and the head."""
    embedding_learning_rate: float
    """Peak learning rate of the word embeddings; 0 freezes them."""
    warmup: float
    """Part of all steps in which the learning rate rises from 0."""
    weight_decay: float = 0.01
    dropout: float = 0.0
    """Hidden dropout; attention dropout stays 0 (random bits are slow on a CPU)."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights; 0 keeps no average."""
    max_steps: int = 0
    """Stop, and end the fall of the learning rate, after this many steps; 0 sets no limit."""
    evaluate_every: int = 0
    """Steps between two looks at the dev split; 0 looks at the end of each epoch only."""


@dataclass(frozen=True)
class Mix:
    """What an epoch of the distillation holds and what its loss weighs."""

    short_share: float = 0.5
    """Part of the texts of up to three words shown in an epoch."""
    pairs: int = 1500
    """Glued texts of 20 to 90 words in an epoch."""
    reviews: int = 350
    """Glued texts of 90 to 400 words in an epoch."""
    excerpts: int = 7000
    """Parts of reviews in an epoch."""
    excerpt_words: tuple[int, int, int] = (30, 380, 120)
    """Least, most and most frequent number of their words."""
    reviews_judged: int = 250
    """Reviews set aside that a model in training is judged by, beside SST-2 dev."""
    temperature: float = 2.0
    """Both sets of logits are divided by it."""
    labels: float = 0.15
    """Weight of the cross-entropy with the labels, where there are any."""
    features: float = 1.0
    """Weight of the cosine distance to the teacher's features."""


@dataclass(frozen=True)
class Lesson:
    """What the teacher is trained on and what it labels, beside all sentences."""

    short_share: float = 0.3
    """Part of the texts under eight words that it is trained on."""
    excerpts: int = 3000
    """Parts of reviews that it is trained on."""
    excerpt_words: tuple[int, int, int] = (30, 170, 90)
    """Least, most and most frequent number of their words."""
    labelled_excerpts: int = 6000
    """Parts of reviews that it labels."""
    labelled_sentences: int = 20_000
    """Sentences of reviews without labels that it labels."""
    dropped: int = 4000
    """Sentences of which it also labels a copy with words dropped."""


@dataclass(frozen=True)
class Settings:
    """Paths and stages; the command line sets the paths and the seed."""

    data: Path
    """Folder with sst2_train.tsv, sst2_dev.tsv, rt_polarity_train.tsv and the two files of IMDB."""
    work: Path
    """Folder for everything cached between stages."""
    checkpoint: Path
    """Where the export stage puts the finished student."""
    seed: int = 13
    earlier: Path | None = None
    """Checkpoint of an earlier student to start from, with its tokenizer; None: from MiniLM."""
    reviews_set_aside: int = 1000
    """Reviews kept out of training, to select and calibrate by."""
    blend_reviews: int = 500
    """Reviews set aside that choose a blend of two students, beside SST-2 dev."""
    heldout: int = 800
    """Sentences of rt_polarity kept out of every stage, for the final figures."""
    vocabulary: int = 28_000
    """Entries of the student's tokenizer, the five special tokens included."""
    first: Schedule = field(
        default_factory=lambda: Schedule(
            epochs=1,
            batch_size=64,
            batch_tokens=4096,
            learning_rate=1e-4,
            embedding_learning_rate=3e-4,
            warmup=0.06,
        )
    )
    """The plain recipe: cross-entropy on the labelled texts."""
    lesson: Lesson = field(default_factory=Lesson)
    mix: Mix = field(default_factory=Mix)
    teacher: Schedule = field(
        default_factory=lambda: Schedule(
            epochs=1,
            batch_size=64,
            batch_tokens=1536,
            learning_rate=3e-5,
            embedding_learning_rate=0.0,
            warmup=0.06,
            max_steps=640,
            evaluate_every=320,
        )
    )
    distil: Schedule = field(
        default_factory=lambda: Schedule(
            epochs=4,
            batch_size=64,
            batch_tokens=4096,
            learning_rate=1e-4,
            embedding_learning_rate=5e-4,
            warmup=0.05,
            ema_decay=0.999,
            evaluate_every=500,
        )
    )
    again_mix: Mix = field(
        default_factory=lambda: Mix(
            short_share=0.2, pairs=500, reviews=0, excerpts=6000, reviews_judged=150, labels=0.3
        )
    )
    """The epochs of a student that starts from an earlier one."""
    again: Schedule = field(
        default_factory=lambda: Schedule(
            epochs=2,
            batch_size=128,
            batch_tokens=4096,
            learning_rate=1e-4,
            embedding_learning_rate=3e-4,
            warmup=0.05,
            ema_decay=0.998,
            evaluate_every=300,
        )
    )
