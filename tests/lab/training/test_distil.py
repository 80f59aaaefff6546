"""What the student learns from a batch."""

from __future__ import annotations

import math
import random

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed here; run make test-torch")

from lab.training.batches import Batch, Example
from lab.training.corpus import Text
from lab.training.distil import DistillationLoss, epoch_texts
from lab.training.settings import Mix

NAN = math.nan
NO_FEATURES = torch.zeros(4, 0)


def batch(labels: list[int], targets: list[list[float]], sources: list[int] | None = None) -> Batch:
    """A batch whose texts do not matter."""
    count = len(labels)
    ids = torch.ones(count, 3, dtype=torch.int64)
    found = torch.tensor(sources or [-1] * count)
    return Batch(ids, ids, torch.tensor(labels), torch.tensor(targets), found, list(range(count)))


def test_a_text_with_a_label_alone_costs_its_cross_entropy() -> None:
    """Reviews have no teacher's answer."""
    loss = DistillationLoss(NO_FEATURES, Mix(labels=0.1))
    logits = torch.tensor([[2.0, -1.0], [0.5, 1.0]])
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 1]))
    torch.testing.assert_close(wanted, loss(logits, batch([1, 1], [[NAN, NAN]] * 2)))


def test_the_teachers_own_answer_costs_nothing_but_the_label() -> None:
    """At equal logits the divergence is 0; an unknown label adds nothing."""
    loss = DistillationLoss(NO_FEATURES, Mix(labels=0.25))
    logits = torch.tensor([[2.0, -1.0]])
    assert float(loss(logits, batch([-1], [[2.0, -1.0]]))) == pytest.approx(0, abs=1e-6)
    wanted = 0.25 * torch.nn.functional.cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(wanted, loss(logits, batch([0], [[2.0, -1.0]])))


def test_both_kinds_of_text_in_one_batch_cost_the_mean_of_their_costs() -> None:
    """Neither kind weighs more because it stands beside the other."""
    loss = DistillationLoss(NO_FEATURES, Mix(labels=0.25))
    logits = torch.tensor([[2.0, -1.0], [0.3, 0.1]])
    targets = [[0.5, 0.5], [NAN, NAN]]
    each = [loss(logits[i : i + 1], batch([1], targets[i : i + 1])) for i in (0, 1)]
    torch.testing.assert_close(sum(each) / 2, loss(logits, batch([1, 1], targets)))


def test_features_are_matched_where_the_teacher_has_seen_the_text() -> None:
    """Opposite features cost 2, the same ones 0; a text that it has not seen costs nothing."""
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = DistillationLoss(features, Mix(labels=0.0, features=1.0))
    logits, targets = torch.zeros(2, 2), [[0.0, 0.0], [0.0, 0.0]]
    same = torch.cat([logits, torch.tensor([[3.0, 0.0], [9.0, 9.0]])], dim=1)
    opposite = torch.cat([logits, torch.tensor([[-3.0, 0.0], [9.0, 9.0]])], dim=1)
    seen = batch([0, 0], targets, [0, -1])
    assert float(loss(same, seen)) == pytest.approx(0, abs=1e-6)
    assert float(loss(opposite, seen)) == pytest.approx(2, abs=1e-6)


def test_an_epoch_holds_every_kind_of_text_and_repeats_itself() -> None:
    """The same seed gives the same texts, as resuming needs; another seed gives others."""
    texts = [
        Example(
            f"a film of some length with word{n} in it", n % 2, ((-2.0, 2.0), (2.0, -2.0))[n % 2]
        )
        for n in range(20)
    ]
    reviews = [Text(n % 2, " ".join(f"r{n}w{k}" for k in range(500))) for n in range(10)]
    mix = Mix(pairs=3, reviews=2, excerpts=4, excerpt_words=(30, 380, 120))
    shown = epoch_texts(texts, reviews, mix, random.Random(5))
    assert 20 + 3 + 2 + 4 == len(shown)
    again, other = (epoch_texts(texts, reviews, mix, random.Random(seed)) for seed in (5, 6))
    assert list(map(repr, shown)) == list(map(repr, again))  # NaN differs from NaN
    assert list(map(repr, shown)) != list(map(repr, other))
