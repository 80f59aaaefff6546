"""The curves that calibrate the scores, and the head that learns them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed here; run make test-torch")

import torch

from lab.training.calibrate import (
    KNOTS,
    Curve,
    Floats,
    Head,
    Integers,
    calibration_error,
    cross_fitted,
    fit_curve,
    negative_log_likelihood,
)
from lab.training.calibration_floor import chance_errors


def drawn(scale: float, texts: int, seed: int) -> tuple[Floats, Integers]:
    """Logits that are `scale` times too large, and labels drawn from the right chances."""
    draw = np.random.default_rng(seed)
    margins = draw.normal(0, 3, texts)
    labels = (draw.random(texts) < 1 / (1 + np.exp(-margins))).astype(np.int64)
    return scale * np.stack([-margins / 2, margins / 2], axis=1), labels


@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_the_curve_undoes_a_scale(scale: float) -> None:
    """Scores that are too unsure by a factor are multiplied by it; no label changes."""
    logits, labels = drawn(scale, 20_000, 1)
    margins = logits[:, 1] - logits[:, 0]
    curve = fit_curve(margins, labels)
    np.testing.assert_allclose(1 / scale, curve.slopes[0], rtol=0.1)
    moved = curve(margins)
    np.testing.assert_array_equal(margins > 0, moved > 0)
    assert calibration_error(np.stack([-moved / 2, moved / 2], axis=1), labels) < 0.02
    if scale != 1:
        assert calibration_error(logits, labels) > 0.03


def test_the_curve_rises_everywhere_and_is_odd() -> None:
    """Whatever its slopes are, up to its last knot."""
    margins = np.linspace(-KNOTS[-1], KNOTS[-1], 101)
    moved = Curve((2.0, 0.01, 5.0, 0.3))(margins)
    assert (np.diff(moved) > 0).all()
    np.testing.assert_allclose(moved, -moved[::-1], atol=1e-12)
    np.testing.assert_allclose([2, 2.01, 7.01, 7.31], Curve((2.0, 0.01, 5.0, 0.3))(np.array(KNOTS)))


def test_a_cross_fitted_score_does_not_know_its_own_label() -> None:
    """Where labels are drawn from the scores, curves of halves gain nothing over the scores."""
    logits, labels = drawn(1.0, 400, 5)
    margins = logits[:, 1] - logits[:, 0]
    curve = fit_curve(margins, labels)
    fitted = np.stack([-curve(margins) / 2, curve(margins) / 2], axis=1)
    halves = cross_fitted(margins, labels, seed=0)
    assert negative_log_likelihood(fitted, labels) < negative_log_likelihood(logits, labels)
    assert negative_log_likelihood(logits, labels) < negative_log_likelihood(halves, labels)


def test_the_head_learns_a_curve_for_each_kind() -> None:
    """States tell the kind by a sign; margins of one kind are doubled, of the other halved."""
    torch.manual_seed(0)
    states = torch.zeros(3000, 64)
    states[:, :4] = torch.randn(3000, 4)
    states[:, 0] = torch.where(states[:, 0] > 0, 3.0, -3.0)
    dense, out_proj = torch.nn.Linear(64, 64), torch.nn.Linear(64, 2)
    layers = torch.nn.ModuleDict({"dense": dense, "out_proj": out_proj})
    head = Head(layers.state_dict())
    before = torch.tensor(head.margins(states), dtype=torch.float32)
    wanted = before * torch.where(states[:, 0] > 0, 2.0, 0.5)
    head.learn(states, wanted, torch.ones(len(states)), seed=0)
    after = torch.tensor(head.margins(states), dtype=torch.float32)
    assert (after - wanted).square().mean() < 0.1 * (before - wanted).square().mean()


@pytest.mark.parametrize(
    ("chances", "labels", "wanted"),
    [([0.9, 0.9], [1, 1], 0.1), ([0.9, 0.9], [1, 0], 0.4), ([0.9, 0.6], [1, 0], 0.35)],
    ids=["all right", "half right", "two bins"],
)
def test_the_calibration_error_by_hand(
    chances: list[float], labels: list[int], wanted: float
) -> None:
    """Mean distance of score and accuracy, by bins of the score."""
    positive = np.array(chances)
    logits = np.log(np.stack([1 - positive, positive], axis=1))
    assert wanted == pytest.approx(calibration_error(logits, np.array(labels)))


def test_chance_alone_gives_an_error_that_falls_with_the_texts() -> None:
    """Scores that are all true, judged by few labels and by many."""
    few, many = (chance_errors(drawn(1.0, texts, 4)[0], 20).mean() for texts in (200, 20_000))
    assert 0.02 < few < 0.08
    assert few > 5 * many > 0
