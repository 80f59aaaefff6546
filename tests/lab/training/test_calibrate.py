"""The temperature that calibrates the scores."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed here; run make test-torch")

from lab.training.calibrate import (
    Floats,
    Integers,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from lab.training.calibration_floor import chance_errors


def drawn(scale: float, texts: int, seed: int) -> tuple[Floats, Integers]:
    """Logits that are `scale` times too large, and labels drawn from the right chances."""
    draw = np.random.default_rng(seed)
    margins = draw.normal(0, 3, texts)
    labels = (draw.random(texts) < 1 / (1 + np.exp(-margins))).astype(np.int64)
    return scale * np.stack([-margins / 2, margins / 2], axis=1), labels


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_the_temperature_undoes_a_scale(scale: float) -> None:
    """Scores that are too sure by a factor are divided by this factor."""
    logits, labels = drawn(scale, 20_000, 1)
    found = fit_temperature([(logits, labels)])
    assert found == pytest.approx(scale, rel=0.05)
    assert calibration_error(logits / found, labels) < 0.01
    if scale != 1:
        assert calibration_error(logits, labels) > 0.03


def test_a_large_set_outweighs_no_small_one() -> None:
    """Each set counts once, however many texts it holds."""
    few, many = drawn(1.0, 1000, 2), drawn(3.0, 20_000, 3)
    both = fit_temperature([few, many])
    logits, labels = (np.concatenate([part] * 3) for part in many)
    repeated = fit_temperature([few, (logits, labels)])
    assert both == pytest.approx(repeated, rel=1e-3)
    assert fit_temperature([few]) < both < fit_temperature([many])


def test_the_likelihood_of_certain_answers() -> None:
    """Two texts at even odds cost log 2 each at any temperature."""
    even = np.zeros((2, 2))
    for temperature in (0.5, 1.0, 4.0):
        assert np.log(2) == pytest.approx(
            negative_log_likelihood(even, np.array([0, 1]), temperature)
        )


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
