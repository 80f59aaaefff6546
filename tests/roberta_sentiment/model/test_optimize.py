"""`optimize`: the same answers from a file made for this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.derived import (
    FILE,
    check,
    checksums_of,
    default_roots,
    open_prepared,
    optimized_key,
)
from roberta_sentiment.model.optimize import optimize
from roberta_sentiment.run.batching import Padding
from tests import toy, zoo


def test_the_published_graph_keeps_its_answers(tmp_path: Path) -> None:
    """Masked, fused and packed: still PyTorch's logits, in one padded batch."""
    artifact = open_artifact(zoo.write(tmp_path / "model"))
    optimize(artifact, [tmp_path / "cache"])
    prepared = open_prepared(artifact, threads=1, roots=[tmp_path / "cache"])
    assert "optimized" == prepared.kind
    ids, mask = zoo.padded()
    np.testing.assert_allclose(zoo.LOGITS, prepared.session.run(ids, mask.sum(axis=1)), atol=1e-4)


def test_the_saved_graph_says_that_it_leaves_padding_out(tmp_path: Path) -> None:
    """Batches of the saved file are planned by it, and ONNX Runtime could drop the entry."""
    artifact = open_artifact(zoo.write(tmp_path / "model"))
    optimize(artifact, [tmp_path / "cache"])
    prepared = open_prepared(artifact, threads=2, roots=[tmp_path / "cache"])
    assert prepared.parallel_session is not None
    assert [Padding.ATTENTION] * 2 == [prepared.session.padding, prepared.parallel_session.padding]


@pytest.mark.parametrize("kind", ["masked", "original"])
@pytest.mark.parametrize(("free", "expected"), [(0, False), (2**30, True)])
def test_a_file_without_shared_pages_is_opened_twice_where_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, free: int, expected: bool
) -> None:
    """A second session holds the weights again; over the limit the container would be killed."""
    monkeypatch.setattr("roberta_sentiment.container.available_memory", lambda: free)
    writer = zoo if kind == "masked" else toy
    artifact = open_artifact(writer.write(tmp_path / "model"))
    for _ in range(2):
        found = open_prepared(artifact, threads=2, roots=[tmp_path / "cache"])
        assert (kind, expected) == (found.kind, found.parallel_session is not None)
    assert open_prepared(artifact, threads=1, roots=[tmp_path / "cache"]).parallel_session is None


def test_what_was_checked_before_the_fork_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every server process would otherwise spend its start on the same checksums."""
    path = zoo.write(tmp_path / "model")
    optimize(open_artifact(path), default_roots())
    artifact, found = check(path)
    assert found is not None
    read: list[Path] = []

    def watched(file: Path) -> list[str]:
        read.append(file)
        return checksums_of(file)

    monkeypatch.setattr("roberta_sentiment.model.derived.checksums_of", watched)
    assert "optimized" == open_prepared(artifact, threads=1, optimized=found).kind
    assert [] == read
    (found.path / "model.data").write_bytes(b"damaged")
    assert "masked" == open_prepared(artifact, threads=1, optimized=found).kind
    assert found.path / "model.data" in read


def test_weights_lie_outside_the_graph(tmp_path: Path) -> None:
    """Only then do the workers share their pages."""
    kept = optimize(open_artifact(zoo.write(tmp_path / "model")), [tmp_path / "cache"])
    graph = onnx.load(str(kept / FILE), load_external_data=False)
    outside = [t.name for t in graph.graph.initializer if t.data_location == 1]
    assert "words" in outside
    assert (kept / FILE).stat().st_size < (kept / "model.data").stat().st_size / 10


def test_a_graph_that_is_not_a_roberta_is_optimised_unchanged(tmp_path: Path) -> None:
    """Whatever can be served can be optimised."""
    artifact = open_artifact(toy.write(tmp_path / "model"))
    optimize(artifact, [tmp_path / "cache"])
    prepared = open_prepared(artifact, threads=1, roots=[tmp_path / "cache"])
    good = toy.vocabulary()["good"]
    logits = prepared.session.run(np.array([[good, 1], [good, good]]), np.array([1, 2]))
    assert "optimized" == prepared.kind
    np.testing.assert_array_equal([[0, 1], [0, 2]], logits)


@pytest.mark.parametrize("stale", ["onnxruntime", "cpu", "model"])
def test_a_file_made_elsewhere_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    """Packed weights are read blindly: another version or CPU must never see them."""
    artifact = open_artifact(toy.write(tmp_path / "model"))
    optimize(artifact, [tmp_path / "cache"])
    key = {**optimized_key(artifact.digest), stale: "another"}
    monkeypatch.setattr("roberta_sentiment.model.derived.optimized_key", lambda _: key)
    assert "original" == open_prepared(artifact, threads=1, roots=[tmp_path / "cache"]).kind


def test_no_place_to_write_is_said(tmp_path: Path) -> None:
    """The way out is an option."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ArtifactError, match="--cache"):
        optimize(open_artifact(toy.write(tmp_path / "model")), [blocked])
