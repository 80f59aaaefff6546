"""Checks that run the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from roberta_sentiment.tools.tolerance import batch_tolerance
from roberta_sentiment.tools.verify.result import Result, failed, passed, skipped
from roberta_sentiment.tools.verify.subject import Subject

REFERENCE_TOLERANCE = 1e-4
"""Largest difference of a logit to a published answer, made on another machine."""

_LENGTHS = (2, 3, 3, 5, 8, 8, 13, 16, 21, 26, 33, 40, 47, 55, 64, 100, 120)
_TEXTS = ("good", "It is, in a word, awful.", "\U0001f44d \u4f60\u597d\n\t\u00e9", "<pad>")


def check_finite(subject: Subject) -> Result:
    """Texts of all kinds, and tokens from the whole vocabulary, get finite scores."""
    subject.classifier.classify(_TEXTS)
    rows, logits = subject.sample
    if not np.isfinite(logits).all():
        return failed("the model answered with numbers that are not finite")
    tokens = sum(map(len, rows))
    return passed(
        f"{len(rows) + len(_TEXTS)} texts with {tokens} different tokens, largest score "
        f"{np.abs(logits).max():.3g}",
        tokens=tokens,
        largest=float(np.abs(logits).max()),
    )


def check_head(subject: Subject) -> Result:
    """Graph and configuration agree how outputs become scores."""
    head = subject.classifier.head
    return passed(head.description, head=head.name)


def check_position_limit(subject: Subject) -> Result:
    """A text that is too long runs at exactly the limit."""
    limit = subject.artifact.position_limit
    answer = subject.classifier.classify(["good " * (limit + 8)], "end")
    if answer.work.tokens != limit:
        return failed(
            f"of {answer.tokens[0]} tokens the model saw {answer.work.tokens}, not {limit}"
        )
    return passed(f"a text of {answer.tokens[0]} tokens ran at {limit}", limit=limit)


def check_batches(subject: Subject) -> Result:
    """Rows of mixed lengths get the same scores together, in any order, as each alone."""
    trial = subject.classifier.trial
    if trial.one_per_batch and trial.difference:
        return failed(
            f"in a batch an answer differs by {trial.difference:.1e} from alone, so the server "
            'runs each text by itself; "batch_invariant": false in manifest.json says so',
            largest_difference=trial.difference,
        )
    rows = _rows(subject)
    alone = np.concatenate([subject.classifier.classify_ids([row]).logits for row in rows])
    worst, runs = 0.0, 0
    for order in (range(len(rows)), _shuffled(len(rows)), _shuffled(len(rows), seed=1)):
        answer = subject.classifier.classify_ids([rows[i] for i in order])
        worst = max(worst, float(np.abs(answer.logits - alone[list(order)]).max()))
        runs = answer.work.batches
    facts = {"rows": len(rows), "runs": runs, "largest_difference": worst}
    seen = f"{len(rows)} rows in {runs} runs: largest difference {worst:.1e}"
    allowed = batch_tolerance(subject.artifact.precision)
    if not worst <= allowed:
        return failed(
            f"{seen}, more than {allowed:.0e}: an answer depends on the other texts in its batch. "
            '"batch_invariant": false in manifest.json makes the server run each text alone',
            **facts,
        )
    note = "" if runs < len(rows) else ", each by itself"
    return passed(seen + note, **facts)


def check_reference(subject: Subject) -> Result:
    """Answers that the model's makers published come out again."""
    references = subject.artifact.manifest.get("reference")
    if not references:
        return skipped("the manifest holds no published answer (reference)")
    if subject.artifact.precision != "fp32":
        return skipped(f"published for fp32, but the model is {subject.artifact.precision}")
    worst = 0.0
    for entry in references:
        try:
            text, ids, logits = _reference(entry)
        except (LookupError, TypeError, ValueError, AttributeError):
            return failed("an entry of reference in manifest.json does not hold ids and logits")
        if text is not None:
            made = subject.tokenizer.encode([text], "end")[0].windows[0]
            if made != ids:
                return failed(f"the tokenizer makes {made} of {text!r}, but {ids} was published")
        answer = subject.classifier.classify_ids([ids]).logits[0]
        if answer.shape != logits.shape:
            return failed(f"{answer.size} scores came, but {logits.size} were published")
        worst = max(worst, float(np.abs(answer - logits).max()))
        if not worst <= REFERENCE_TOLERANCE:
            return failed(
                f"{_listed(answer)} came for {text or ids!r}, but {_listed(logits)} was published",
                largest_difference=worst,
            )
    return passed(
        f"{len(references)} published: largest difference {worst:.1e}",
        answers=len(references),
        largest_difference=worst,
    )


def _reference(entry: Mapping[str, Any]) -> tuple[str | None, list[int], npt.NDArray[np.float64]]:
    logits = np.array(entry["logits"], dtype=np.float64)
    return entry.get("text"), [int(token) for token in entry["ids"]], logits


def _rows(subject: Subject) -> list[list[int]]:
    """Random rows of several lengths up to the limit, many close enough to share a run."""
    draw = np.random.default_rng(0)
    limit, pad = subject.artifact.position_limit, subject.artifact.pad_id
    tokens = [i for i in range(subject.artifact.vocab_size) if i != pad]
    wanted = [length for length in (*_LENGTHS, limit // 2, limit - 1, limit) if length <= limit]
    return [draw.choice(tokens, length).tolist() for length in sorted(wanted) if length > 0]


def _shuffled(count: int, seed: int = 0) -> list[int]:
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order


def _listed(values: npt.NDArray[Any]) -> str:
    return "[" + ", ".join(f"{value:.5f}" for value in values) + "]"
