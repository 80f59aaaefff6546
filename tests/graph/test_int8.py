"""Quantisation: close to float32, and blind to batch mates."""

from __future__ import annotations

import numpy as np
import onnxruntime

from roberta_sentiment.graph.int8 import quantize, quantize_columns
from roberta_sentiment.graph.weights import from_onnx
from tests import zoo


def test_columns_are_rounded_to_half_a_step() -> None:
    """Scale and rounding of the weights, by hand."""
    weight = np.array([[1.27, 0, -3], [-0.635, 0, 1.5]], dtype=np.float32)
    eight, steps = quantize_columns(weight)
    np.testing.assert_array_equal([[127, 0, -127], [-64, 0, 64]], eight)
    np.testing.assert_allclose([0.01, 1, 3 / 127], steps, rtol=1e-6)


def test_int8_answers_stay_near_and_do_not_depend_on_the_batch() -> None:
    """Padded to 512 beside 17 others, a text gets the very bits it gets alone."""
    model, products = quantize(from_onnx(zoo.graph(), zoo.CONFIG), zoo.IDS)
    assert 2 * 4 + 1 == products
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ids, mask = zoo.padded()
    together = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    assert np.abs(together - zoo.LOGITS).max() < 0.5
    for row, sequence in enumerate(zoo.IDS):
        one = np.array([sequence])
        alone = session.run(None, {"input_ids": one, "attention_mask": np.ones_like(one)})[0]
        np.testing.assert_array_equal(together[row], alone[0])
