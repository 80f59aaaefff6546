"""A classifier of two classes that reads words, and has neither tokens nor a length limit."""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Sequence
from typing import ClassVar, NoReturn

import numpy as np

from roberta_sentiment.errors import TokenIdError
from roberta_sentiment.predictions import Predictions, Work
from roberta_sentiment.settings import Truncation

LABELS = ("negative", "positive")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a model says to one text.

    Attributes:
        margin: positive logit less negative logit.
        words: that the model saw.
    """

    margin: float
    words: int


class WordClassifier(abc.ABC):
    """Turns the verdicts of a subclass into predictions, as `seldon_node.node` wants them."""

    labels: ClassVar[tuple[str, ...]] = LABELS

    @abc.abstractmethod
    def judge(self, text: str) -> Verdict:
        """The verdict on one text."""

    def classify(self, texts: Sequence[str], truncation: Truncation | None = None) -> Predictions:
        """Score texts; each is read whole, so that any `truncation` changes nothing.

        Args:
            texts: n texts, n at least 1.
            truncation: accepted, because the RoBERTa node takes it too.
        """
        start = time.perf_counter()
        verdicts = [self.judge(text) for text in texts]
        margins = np.array([verdict.margin for verdict in verdicts], np.float32)
        words = [verdict.words for verdict in verdicts]
        return Predictions(
            labels=self.labels,
            logits=np.stack([-margins / 2, margins / 2], axis=1),
            tokens=words,
            truncated=[],
            work=Work(
                batches=1,
                tokens=sum(words),
                padding=0,
                tokenize_s=0.0,
                queue_s=0.0,
                infer_s=time.perf_counter() - start,
            ),
        )

    def classify_ids(self, rows: Sequence[Sequence[int]]) -> NoReturn:
        """Refuse token ids.

        Raises:
            TokenIdError: always.
        """
        raise TokenIdError(
            f"{len(rows)} rows of token ids came, but this model reads words and has no token ids; "
            'send the texts themselves, data.ndarray ["a text", "another text"]'
        )
