"""The published graph served over REST, against what PyTorch gave for each text alone."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from roberta_sentiment.classifier import softmax
from tests import zoo
from tests.service import Service

PAD = 1
ORDERS = 3


@pytest.fixture(scope="module")
def zoo_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A directory as a user of the Model Zoo has it, served unchanged."""
    directory = zoo.write(tmp_path_factory.mktemp("zoo") / "zoo")
    with Service(MODEL_URI=str(directory)).start() as running:
        yield running


def ask(service: Service, rows: list[list[int]]) -> npt.NDArray[np.float64]:
    """Probabilities of padded token ids, (n, 2)."""
    answer = service.post({"data": {"ndarray": rows}})
    assert 200 == answer.status_code, answer.text
    return np.array(answer.json()["data"]["ndarray"])


def padded(order: list[int]) -> list[list[int]]:
    """The reference sequences in some order, right-padded."""
    width = max(map(len, zoo.IDS))
    return [zoo.IDS[i] + [PAD] * (width - len(zoo.IDS[i])) for i in order]


def test_each_sequence_alone(zoo_service: Service) -> None:
    """2 to 512 tokens, within 1e-4 of PyTorch."""
    got = np.concatenate([ask(zoo_service, [ids]) for ids in zoo.IDS])
    np.testing.assert_allclose(softmax(zoo.LOGITS), got, atol=1e-4)


def test_one_padded_batch_in_any_order(zoo_service: Service) -> None:
    """The file has no mask, so padding would change logits by up to 9."""
    draw = random.Random(0)
    for _ in range(ORDERS):
        order = draw.sample(range(len(zoo.IDS)), len(zoo.IDS))
        got = ask(zoo_service, padded(order))
        np.testing.assert_allclose(softmax(zoo.LOGITS[order]), got, atol=1e-4)


def test_texts_of_mixed_lengths(zoo_service: Service, reviews: list[str]) -> None:
    """A request of many texts answers each as if it had come alone."""

    def scores(texts: list[str]) -> npt.NDArray[np.float64]:
        return np.array(zoo_service.post({"data": {"ndarray": texts}}).json()["data"]["ndarray"])

    alone = np.concatenate([scores([review]) for review in reviews])
    np.testing.assert_allclose(alone, scores(reviews), atol=1e-5)


def test_the_log_says_that_a_mask_was_put_in(zoo_service: Service) -> None:
    """What runs is not the file as it came, and an operator should know."""
    assert "an attention mask was put into the graph" in zoo_service.log()
