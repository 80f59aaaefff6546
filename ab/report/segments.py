"""Segments: whether B leads or trails for some kind of text, and whether it does so everywhere."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pandas as pd
from statsmodels.stats.multitest import multipletests

from ab.report.text import points
from ab.stats import proportions, sequential
from ab.stats.interval import Interval, ahead

LENGTHS = (0, 50, 200, 1000)
"""Characters from which the segments of `length` begin."""
FEATURES = ("digits", "marks", "symbols", "capitals")
KNOWN = ("length", "truncated", "class", *FEATURES)
CORRECTIONS = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}


@dataclasses.dataclass(frozen=True)
class Segment:
    """The difference for one kind of text.

    Attributes:
        dimension: what the texts are divided by.
        name: of the segment.
        answers: of A and of B with a truth.
        difference: accuracy of B minus that of A, with an interval that holds at any look and for
            all segments together.
        p_value: of "no difference", corrected for the number of segments; valid at any look.
        differs: whether that is below the false alarm rate.
    """

    dimension: str
    name: str
    answers: tuple[int, int]
    difference: Interval
    p_value: float
    differs: bool


def find_segments(
    answers: pd.DataFrame,
    dimensions: Sequence[str],
    models: tuple[str, str],
    share_b: float,
    alpha: float,
    correction: str = "holm",
) -> tuple[Segment, ...]:
    """Test the difference in every segment that both models have answers of.

    Args:
        answers: with a truth, in the order of sending, see `ab.observations.table`.
        dimensions: of `KNOWN`, or names of tags of the requests.
        models: names of A and B.
        share_b: of the traffic of both.
        alpha: false alarm rate of all segments together; half is for "they differ from A", half for
            "they differ from each other".
        correction: of `CORRECTIONS`.
    """
    ours = answers[answers.model.isin(models)]
    parts = [
        (dimension, str(name), part)
        for dimension in dimensions
        for name, part in ours.groupby(divide(ours, dimension), sort=True)
        if part.model.nunique() == 2
    ]
    if not parts:
        return ()
    level = alpha / 2 / len(parts)
    tests = [sequential.of_answers(part, models[1], share_b, level) for *_, part in parts]
    differs, corrected = multipletests([t.p_value for t in tests], alpha / 2, method=correction)[:2]
    found = []
    for (dimension, name, part), test, p, known in zip(
        parts, tests, corrected, differs, strict=True
    ):
        sides = [part[part.model == model] for model in models]
        a, b = (proportions.weighted(side.right, 1 / side.rate).value or 0.0 for side in sides)
        counts = (len(sides[0]), len(sides[1]))
        found.append(Segment(dimension, name, counts, test.estimate(b - a), float(p), bool(known)))
    return tuple(found)


def divide(answers: pd.DataFrame, dimension: str) -> pd.Series:
    """The segment of each answer; None where it is not known."""
    if dimension == "length":
        lengths = answers.features.map(lambda each: each.get("characters"))
        names = [f"{a} to {b - 1} characters" for a, b in itertools.pairwise(LENGTHS)]
        names.append(f"{LENGTHS[-1]} characters or more")
        return pd.cut(lengths.astype(float), [*LENGTHS, float("inf")], right=False, labels=names)
    if dimension == "truncated":
        return answers.truncated.map({True: "truncated", False: "whole"})
    if dimension == "class":
        return answers.truth
    if dimension in FEATURES:
        names_of = {1: f"with {dimension}", 0: f"without {dimension}"}
        return answers.features.map(lambda each: names_of.get(each.get(dimension)))
    return answers.request_tags.map(lambda tags: tags.get(dimension))


def sentences(segments: Sequence[Segment], a: str, b: str, correction: str) -> tuple[str, ...]:
    """What the segments show: where B leads or trails, and whether that depends on the text."""
    if not segments:
        return ()
    found = [
        f"For {s.name} ({s.dimension}) {_lead(s, a, b)} ({CORRECTIONS[correction]})."
        for s in segments
        if s.differs
    ]
    uneven = [
        f"The difference depends on {one.dimension}: for {one.name} {_lead(one, a, b)}, for "
        f"{other.name} {_lead(other, a, b)}."
        for one, other in itertools.permutations(segments, 2)
        if one.dimension == other.dimension
        and (one.difference.high or 0) < (other.difference.low or 0)
    ]
    even = f"Of {len(segments)} segments none is shown to differ from another one of its kind."
    return (*found, *(uneven or [even]))


def _lead(segment: Segment, a: str, b: str) -> str:
    winner, loser, sign = ahead(a, b, segment.difference)
    lead = segment.difference.seen_from(sign).value
    return f"{winner} beats {loser} by {points(lead).removeprefix('+')}"
