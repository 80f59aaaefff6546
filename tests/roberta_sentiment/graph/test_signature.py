"""Which axes of a graph may be fixed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from roberta_sentiment.errors import GraphError
from roberta_sentiment.graph.signature import Signature, read_signature


def read(*shape: Any) -> Signature:
    """The signature of a graph whose ids have such a shape."""
    ids = SimpleNamespace(name="input_ids", type="tensor(int64)", shape=shape)
    logits = SimpleNamespace(name="logits", type="tensor(float)", shape=["batch", 3])
    return read_signature([ids], [logits])


@pytest.mark.parametrize(
    ("shape", "fixed"),
    [
        pytest.param(["batch", 128], "axis 1 to 128", id="length"),
        pytest.param([8, "length"], "axis 0 to 8", id="batch"),
        pytest.param([8, 128], "axis 0 to 8 and axis 1 to 128", id="both"),
        pytest.param([1, 128], "axis 0 to 1 and axis 1 to 128", id="one text of a length"),
    ],
)
def test_a_fixed_axis_is_refused(shape: list[Any], fixed: str) -> None:
    """At start, where it can be exported again; the first request would fail otherwise."""
    with pytest.raises(GraphError, match=f"which fixes {fixed}; export it"):
        read(*shape)


@pytest.mark.parametrize(("batch", "one_per_batch"), [(1, True), ("batch", False), (None, False)])
def test_a_batch_of_one_is_served(batch: Any, one_per_batch: bool) -> None:
    """One text a run is slower, and right."""
    found = read(batch, "length")
    assert (one_per_batch, 3) == (found.one_per_batch, found.classes)
