"""The model directory under test; each part is loaded when a check first asks for it."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.container import available_cpus
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.run.session import Session, open_session
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.tokenizer import RobertaTokenizer, load_tokenizer

BATCH_TOKENS = 4096
"""Tokens in one run of the model: room for many texts of different length."""
_SAMPLE_WIDTH = 16
_SAMPLE_ROWS = 512


class Subject:
    """A model directory, as the server would load it.

    Its parts raise what the server would raise.

    Args:
        path: the directory.
        settings: of the server.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = dataclasses.replace(settings, batch_tokens=BATCH_TOKENS)

    @cached_property
    def artifact(self) -> Artifact:
        """The directory, its files compared with its manifest."""
        return open_artifact(self.path)

    @cached_property
    def width(self) -> int:
        """Scores that the graph gives for a text, found by a run if it does not declare them."""
        if self.artifact.signature.classes is not None:
            return self.artifact.signature.classes
        ids = np.array([[token for token in range(3) if token != self.artifact.pad_id]])
        return int(self._open().run(ids, np.array([ids.shape[1]])).shape[1])

    @cached_property
    def tokenizer(self) -> RobertaTokenizer:
        """The tokenizer with the model's own limit."""
        return load_tokenizer(self.artifact, max_tokens=0, overlap=0)

    @cached_property
    def classifier(self) -> Classifier:
        """The whole way from text to scores, as the server goes it."""
        return load_classifier(self.artifact, self.settings)

    @cached_property
    def sample(self) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
        """Rows of token ids from the whole vocabulary, and their logits."""
        ids = [i for i in range(self.artifact.vocab_size) if i != self.artifact.pad_id]
        width = min(_SAMPLE_WIDTH, self.artifact.position_limit)
        rows = [ids[at : at + width] for at in range(0, len(ids), width)]
        step = max(1, -(-len(rows) // _SAMPLE_ROWS))
        rows = rows[::step]
        return rows, self.classifier.classify_ids(rows).logits

    def _open(self) -> Session:
        return open_session(
            self.artifact.onnx_path,
            threads=available_cpus(),
            first_position=self.artifact.first_position,
        )
