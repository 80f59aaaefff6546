"""Weights between two students."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed here; run make test-torch")

from lab.training.blend import SHARES, between


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 1.0), (0.25, 2.0), (1.0, 5.0)])
def test_weights_lie_on_the_line(share: float, wanted: float) -> None:
    """At 0 the weights before training, at 1 those after it."""
    before, after = {"w": torch.ones(2, 3)}, {"w": torch.full((2, 3), 5.0)}
    torch.testing.assert_close(torch.full((2, 3), wanted), between(before, after, share)["w"])
    assert 1.0 == float(before["w"].mean())


def test_the_trained_student_itself_is_among_those_tried() -> None:
    """A blend is taken only where it is better."""
    assert 1.0 in SHARES
