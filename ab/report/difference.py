"""The sequential test of a difference between two models, for answers of any design."""

from __future__ import annotations

import pandas as pd

from ab.stats import sequential


def sequential_test(
    answers: pd.DataFrame, b: str, share_b: float, alpha: float, column: str = "right"
) -> sequential.Sequential:
    """Test the difference of a yes-or-no column between B and A.

    Args:
        answers: of A and B in the order of sending, see `ab.observations.table`.
        b: name of B.
        share_b: of the traffic of both.
        alpha: false alarm rate over all looks.
        column: what is counted.
    """
    from_b, flags = (answers.model == b).tolist(), answers[column].astype(bool).tolist()
    if answers.rate.nunique() > 1 or answers.unit.duplicated().any():
        return sequential.clustered(from_b, flags, 1 / answers.rate, list(answers.unit), alpha)
    return sequential.independent(from_b, flags, share_b, alpha)
