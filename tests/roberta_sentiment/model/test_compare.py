"""Whether a derived graph answers as the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.compare import largest_difference
from roberta_sentiment.run.session import open_session


class Shifted:
    """A session whose logits are larger by a constant, or a multiple of another's.

    Attributes:
        lengths: of the texts that were run.
    """

    def __init__(self, session: Any, shift: float = 0.0, factor: float = 1.0) -> None:
        self._session, self._shift, self._factor = session, shift, factor
        self.lengths: list[int] = []

    def run(self, ids: Any, lengths: Any) -> Any:
        self.lengths += lengths.tolist()
        return self._factor * self._session.run(ids, lengths) + self._shift


@pytest.fixture
def session(toy_artifact: Artifact) -> Any:
    return open_session(toy_artifact.onnx_path, threads=1, first_position=0)


def test_a_graph_does_not_differ_from_itself(session: Any, toy_artifact: Artifact) -> None:
    """Texts of several lengths up to the model's limit are run."""
    other = Shifted(session)
    assert 0 == largest_difference(session, other, toy_artifact)  # type: ignore[arg-type]
    assert [2, 7, 16, 32] == other.lengths


def test_small_logits_differ_by_as_much_as_they_do(session: Any, toy_artifact: Artifact) -> None:
    """Below 1 the difference is not divided by anything."""
    small = Shifted(session, factor=0.0)
    other = Shifted(small, shift=0.25)
    assert 0.25 == largest_difference(small, other, toy_artifact)  # type: ignore[arg-type]


def test_large_logits_differ_by_a_part_of_themselves(session: Any, toy_artifact: Artifact) -> None:
    """What rounding does to 1000 is not counted as if it were 1."""
    large = Shifted(session, factor=0.0, shift=1000.0)
    other = Shifted(large, shift=1.0)
    found = largest_difference(large, other, toy_artifact)  # type: ignore[arg-type]
    np.testing.assert_allclose(1e-3, found)
