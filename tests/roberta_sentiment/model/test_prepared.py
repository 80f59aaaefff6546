"""Which file is opened, and that answers stay the same whichever it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.prepared import open_prepared
from roberta_sentiment.settings import Settings
from tests import toy, zoo


def test_the_published_file_gets_a_mask_once(tmp_path: Path) -> None:
    """The second start reads the edited file; both have a mask."""
    artifact = open_artifact(zoo.write(tmp_path / "model"))
    roots = [tmp_path / "cache"]
    first = open_prepared(artifact, threads=1, roots=roots)
    assert ("masked", True) == (first.kind, first.session.has_mask)
    (entry,) = roots[0].iterdir()
    stamp = entry.stat().st_mtime_ns
    assert "masked" == open_prepared(artifact, threads=1, roots=roots).kind
    assert stamp == entry.stat().st_mtime_ns


def test_a_mask_is_put_in_without_a_place_to_write(tmp_path: Path) -> None:
    """A read-only file system must not cost the answer."""
    artifact = open_artifact(zoo.write(tmp_path / "model"))
    prepared = open_prepared(artifact, threads=1, roots=[])
    assert ("masked", True) == (prepared.kind, prepared.session.has_mask)


def test_a_graph_with_another_pattern_stays_as_it_is(tmp_path: Path) -> None:
    """It is served in batches of equal length, which is exact."""
    artifact = open_artifact(toy.write(tmp_path / "model", mask=False))
    prepared = open_prepared(artifact, threads=1, roots=[tmp_path / "cache"])
    assert ("as it is", False) == (prepared.kind, prepared.session.has_mask)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_published_graph_answers_as_pytorch(tmp_path: Path, order: slice) -> None:
    """18 reference sequences through the whole way, alone and in one request."""
    classifier = load_classifier(open_artifact(zoo.write(tmp_path / "model")), Settings())
    together = classifier.classify_ids(zoo.IDS[order]).logits
    np.testing.assert_allclose(zoo.LOGITS[order], together, atol=1e-4)
    alone = np.concatenate([classifier.classify_ids([ids]).logits for ids in zoo.IDS[order]])
    np.testing.assert_allclose(alone, together, atol=1e-5)
