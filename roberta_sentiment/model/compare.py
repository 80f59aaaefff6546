"""Whether a graph made from a model answers as the model itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.run import batching
from roberta_sentiment.run.session import Session

_LENGTHS = (2, 7, 16, 33, 64)


def largest_difference(reference: Session, other: Session, artifact: Artifact) -> float:
    """Largest difference of a logit, as a part of the text's largest logit or of 1.

    Args:
        reference: of the model as it is stored.
        other: of the graph made from it.
        artifact: the model; texts of several lengths up to its limit are run, each alone.
    """
    draw = np.random.default_rng(0)
    limit = artifact.position_limit
    worst = 0.0
    with ThreadPoolExecutor(1) as pool:
        for length in sorted({min(length, limit) for length in (*_LENGTHS, limit)}):
            sequence = draw.integers(artifact.pad_id + 1, artifact.vocab_size, length).tolist()
            ids, lengths = batching.pad([sequence], artifact.pad_id)
            meanwhile = pool.submit(reference.run, ids, lengths)
            found, expected = other.run(ids, lengths), meanwhile.result()
            off = np.abs(found - expected).max()
            worst = max(worst, float(off) / max(1.0, float(np.abs(expected).max())))
    return worst
