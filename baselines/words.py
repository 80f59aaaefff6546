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
class TextScore:
    """The score of one text.

    Attributes:
        margin: positive logit less negative logit.
        words: that the model saw.
    """

    margin: float
    words: int


class WordClassifier(abc.ABC):
    """Turns the scores of a subclass into predictions, as `seldon_node.node` wants them."""

    labels: ClassVar[tuple[str, ...]] = LABELS

    @abc.abstractmethod
    def score(self, text: str) -> TextScore:
        """The score of one text."""

    def classify(self, texts: Sequence[str], truncation: Truncation | None = None) -> Predictions:
        """Score texts; each is read whole, so that any `truncation` changes nothing.

        Args:
            texts: n texts, n at least 1.
            truncation: accepted, because the RoBERTa node accepts it too.
        """
        start = time.perf_counter()
        scores = [self.score(text) for text in texts]
        margins = np.array([score.margin for score in scores], np.float32)
        words = [score.words for score in scores]
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
