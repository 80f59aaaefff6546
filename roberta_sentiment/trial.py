"""A short trial of a loaded graph: what its axes and operators do not show."""

from __future__ import annotations

import dataclasses
import logging
import math

import numpy as np

from roberta_sentiment.errors import GraphError, InferenceError, first_line
from roberta_sentiment.model import families
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.heads import Head
from roberta_sentiment.run import batching
from roberta_sentiment.run.session import Logits, Session
from roberta_sentiment.text.tokenizer import Frame

logger = logging.getLogger(__name__)

_LENGTHS = (3, 8)
"""Tokens of the two texts, special tokens included, where the model takes so many."""
_FLOAT, _HALF, _EIGHT_BITS = 1e-4, 5e-3, 2e-3
"""Largest difference of a logit alone and in a batch, as a part of the logit or of 1."""
_STEP, _EIGHT_BIT_STEP = 5e-4, 1 / 256
"""Rounding of one probability."""
_LARGEST_LIMIT = 1024
"""Tokens up to which a limit read from the graph is tried."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
        one_per_batch: whether each text must run by itself.
        difference: largest one of a logit, in a batch and alone, as a part of the logit or of 1;
            infinite if no batch ran, 0 if none was tried.
        sums_to_one: whether all scores were from 0 to 1 and each row summed to 1.
        within_one: whether all scores were from 0 to 1.
    """

    one_per_batch: bool
    difference: float
    sums_to_one: bool
    within_one: bool


def try_out(session: Session, artifact: Artifact, frame: Frame) -> Trial:
    """Run texts of two lengths, alone and together.

    Args:
        session: the model.
        artifact: what its files say.
        frame: what the model needs around a text.

    Raises:
        GraphError: the graph fails, or gives another number of scores than there are labels.
    """
    texts = _texts(artifact, frame)
    answers = [_run_alone(session, artifact, ids) for ids in texts]
    difference = 0.0
    allowed = _EIGHT_BITS if artifact.precision == "int8" else _HALF if session.is_half else _FLOAT
    is_invariant = artifact.batch_invariant or session.is_half
    one_per_batch = session.signature.one_per_batch or not is_invariant
    if one_per_batch:
        reason = artifact.structure.mixes_texts or "its manifest or its axes ask for it"
        logger.info("each text runs by itself: %s", reason)
    else:
        difference = _difference(session, artifact, texts, answers)
        one_per_batch = difference > allowed
        if one_per_batch:
            logger.warning("each text runs by itself: in a batch a logit is %.1e off", difference)
    _try_limit(session, artifact, frame)
    rows = np.concatenate(answers)
    step = _EIGHT_BIT_STEP if artifact.precision == "int8" else _STEP
    return Trial(
        one_per_batch,
        difference,
        sums_to_one=rows.shape[1] > 1
        and bool((rows >= 0).all())
        and bool(np.abs(rows.sum(axis=1) - 1).max() <= step * rows.shape[1]),
        within_one=bool((rows >= -step).all() and (rows <= 1 + step).all()),
    )


def refuse_wrong_head(head: Head, trial: Trial) -> None:
    """Refuse a head that the answers contradict.

    Raises:
        GraphError: scores would get a second softmax, or are not probabilities.
    """
    if head.activation == "softmax" and head.in_graph != trial.sums_to_one:
        raise GraphError(
            "the graph's scores sum to 1 already; set the parameter head to probabilities"
            if trial.sums_to_one
            else "the graph's scores do not sum to 1, so they are not probabilities of one label a "
            "text; set the parameter head to softmax, sigmoid or identity, or problem_type in "
            "config.json to multi_label_classification"
        )
    if head.multi_label and head.in_graph and not trial.within_one:
        raise GraphError(
            "the graph's scores are not from 0 to 1, so they are not probabilities; set the "
            "parameter head to sigmoid or identity"
        )
    if not head.in_graph and not head.is_regression and trial.within_one:
        logger.warning(
            "all scores of the trial are from 0 to 1 and get a %s; if they are probabilities "
            "already, set the parameter head to probabilities",
            head.activation,
        )


def _texts(artifact: Artifact, frame: Frame) -> list[list[int]]:
    """Token ids of four texts of two lengths."""
    draw = np.random.default_rng(0)
    usable = [i for i in range(min(artifact.vocab_size, 2000)) if i != artifact.pad_token]
    lengths = sorted({min(n, frame.limit) for n in _LENGTHS} | {frame.smallest})
    return [
        frame.around(draw.choice(usable, length - frame.smallest + 1).tolist())
        for length in lengths[-2:] * 2
    ]


def _run_alone(session: Session, artifact: Artifact, ids: list[int]) -> Logits:
    try:
        logits = session.run(*batching.pad([ids], artifact.pad_id))
    except InferenceError as error:
        reason = first_line(error.__cause__) if error.__cause__ else error.message
        raise GraphError(
            f"the graph fails on a text of {len(ids)} tokens ({reason[:110]}); export it with "
            "dynamic axes for batch and length, as optimum-cli does"
        ) from error
    labels = len(artifact.labels)
    if logits.shape != (1, labels):
        raise GraphError(
            f"the graph gives {logits.shape[1] if len(logits) == 1 else logits.shape} scores, but "
            f"config.json names {labels} labels ({', '.join(artifact.labels)[:120]})"
        )
    return logits


def _difference(
    session: Session, artifact: Artifact, texts: list[list[int]], answers: list[Logits]
) -> float:
    """Largest difference, in a batch and alone; without a mask texts of one length are taken."""
    chosen = range(len(texts)) if session.has_mask else range(1, len(texts), 2)
    expected = np.concatenate([answers[i] for i in chosen])
    try:
        together = session.run(*batching.pad([texts[i] for i in chosen], artifact.pad_id))
    except InferenceError as error:
        logger.warning("the graph fails on a batch: %s", first_line(error.__cause__ or error))
        return math.inf
    if together.shape != expected.shape:
        return math.inf
    return float((np.abs(together - expected) / np.maximum(1, np.abs(expected))).max())


def _try_limit(session: Session, artifact: Artifact, frame: Frame) -> None:
    """Run a text at the limit where the limit is not the rule of the model's family."""
    if families.is_known(artifact.config) or frame.limit > _LARGEST_LIMIT:
        return
    body = [_last_usable(artifact)] * (frame.limit - frame.smallest + 1)
    try:
        session.run(*batching.pad([frame.around(body)], artifact.pad_id))
    except InferenceError as error:
        raise GraphError(
            f"the graph fails on a text of {frame.limit} tokens, and model_type "
            f"{families.model_type(artifact.config)[:40]!r} does not say how many it takes; set "
            "the parameter max_tokens"
        ) from error


def _last_usable(artifact: Artifact) -> int:
    last = artifact.vocab_size - 1
    return last - 1 if last == artifact.pad_token and last else last
