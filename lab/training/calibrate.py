"""A head that is calibrated for sentences and for reviews, at the precision that is shipped.

    python -m lab.training.calibrate build/default/int8 --data ../shared/data

For each kind a curve from the head's margins to others makes its labels most likely: through 0,
rising, cubic between `KNOTS` (Fritsch and Carlson, 1980), so that no label changes. One head then
learns both from the quantised encoder's states, which tell the kinds apart, on these texts and on
others without labels. The encoder stays as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rich.progress import track
from safetensors.torch import load_file, save_file
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor, nn

from lab.training.corpus import Guard, Text, hold_out, read_tsv
from lab.training.head import HEAD, WEIGHTS
from lab.training.reviews import (
    REVIEWS,
    UNLABELLED,
    excerpts,
    read_reviews,
    read_unlabelled,
    sentences,
    set_aside,
)
from lab.training.settings import Settings
from lab.training.stages import Figures
from roberta_sentiment import container
from roberta_sentiment.graph.fused import LOGITS
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.run.batching import pad
from roberta_sentiment.run.session import open_session
from roberta_sentiment.text.tokenizer import load_tokenizer
from roberta_sentiment.tools.metrics import expected_error, reliability

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_PREFIX = "classifier."
KNOTS = (1.0, 2.0, 3.0, 4.0)
"""Margins between which a curve is cubic."""
PHRASES, SENTENCES, PARTS = 9_000, 2_500, 3_000
"""Texts without labels: of SST-2, of reviews, and parts of reviews."""
PART_WORDS = (40, 400, 150)
"""Least, most and most frequent number of words of a part."""
JUDGED = 10
"""Times that a text counts by which a curve was fitted."""
SPLITS = 5
"""Ways to halve the texts, of which one half is judged by a curve of the other."""
EPOCHS, BATCH, LEARNING_RATE = 120, 256, 3e-3
_TEXTS = 8
"""In one run of the encoder."""
_READS_STATES = "classifier.dense.weight"


@dataclasses.dataclass(frozen=True)
class Curve:
    """A rising odd function of margins, the differences of a text's two logits.

    Attributes:
        slopes: mean slope before each of `KNOTS`; beyond the last the curve is level.
    """

    slopes: tuple[float, ...]

    def __call__(self, margins: Floats) -> Floats:
        knots = np.array([0.0, *KNOTS])
        heights = np.cumsum([0.0, *np.diff(knots) * self.slopes])
        reached = PchipInterpolator(knots, heights)(np.minimum(np.abs(margins), knots[-1]))
        return np.asarray(np.sign(margins) * reached, dtype=np.float64)


def fit_curve(margins: Floats, labels: Integers) -> Curve:
    """The curve that makes labels, int [texts], most likely at margins, float [texts]."""

    def cost(logarithms: Floats) -> float:
        moved = Curve(tuple(np.exp(logarithms)))(margins)
        return float(np.logaddexp(0, np.where(labels == 1, -moved, moved)).mean())

    found = minimize(cost, np.zeros(len(KNOTS)), method="Powell")
    return Curve(tuple(np.exp(found.x).tolist()))


def cross_fitted(margins: Floats, labels: Integers, seed: int) -> Floats:
    """Logits [texts, 2] of each half of the texts by the curve that fits the other half."""
    rows = np.random.default_rng(seed).permutation(len(labels))
    moved = np.empty_like(margins)
    for here, there in ((rows[::2], rows[1::2]), (rows[1::2], rows[::2])):
        moved[here] = fit_curve(margins[there], labels[there])(margins[here])
    return np.stack([-moved / 2, moved / 2], axis=1)


def negative_log_likelihood(logits: Floats, labels: Integers) -> float:
    """Mean over the texts; logits float [texts, 2], labels int [texts]."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_error(logits: Floats, labels: Integers) -> float:
    """Expected difference of score and accuracy, as `evaluate` computes it."""
    chances = np.exp(log_softmax(logits, axis=1))
    right = chances.argmax(axis=1) == labels
    return expected_error(reliability(chances.max(axis=1), right))


@dataclasses.dataclass(frozen=True)
class Kind:
    """Texts of one kind.

    Attributes:
        judged: with labels, to fit the curve by.
        unlabelled: teach the head, beside those that are judged; labels are not read.
    """

    judged: Sequence[Text]
    unlabelled: Sequence[Text]


def kinds(settings: Settings) -> dict[str, Kind]:
    """Sentences and reviews; the held-out sentences are in neither."""
    draw, data = random.Random(settings.seed), settings.data
    dev = read_tsv(data / "sst2_dev.tsv")
    held, rest, _ = hold_out(data, settings.heldout, settings.seed)
    guard = Guard(dev + held)
    phrases = [text for text in read_tsv(data / "sst2_train.tsv") if len(text.text.split()) > 3]
    whole = [Text(-1, text) for text in read_unlabelled(data / UNLABELLED)]
    found = [Text(-1, text) for text in sentences([w.text for w in whole], SENTENCES, draw)]
    known = [*draw.sample(phrases, PHRASES), *rest, *found]
    return {
        "sst2_dev": Kind(dev, [text for text in known if not guard.touches(text.text)]),
        "reviews_set_aside": Kind(
            set_aside(read_reviews(data / REVIEWS), settings.reviews_set_aside)[0],
            excerpts(whole, PARTS, PART_WORDS, draw),
        ),
    }


class Encoder:
    """A model directory without its head: from texts to states of `<s>`."""

    def __init__(self, artifact: Artifact) -> None:
        graph = onnx.load(str(artifact.onnx_path))
        states = next(n.input[0] for n in graph.graph.node if _READS_STATES in n.input)
        for node in graph.graph.node:
            if LOGITS in node.output:
                node.input[:] = [states]
        shape = ["batch", artifact.config["hidden_size"]]
        del graph.graph.output[:]
        graph.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, shape))
        threads = container.available_cpus()
        self._session = open_session(graph.SerializeToString(), threads=threads)
        self._pad_id = artifact.pad_id
        self._tokenizer = load_tokenizer(artifact, max_tokens=0, overlap=0)

    def states(self, texts: Sequence[Text], name: str) -> Tensor:
        """float32 [texts, hidden]; long texts are cut at their end."""
        encoded = self._tokenizer.encode([text.text for text in texts], "end")
        ids = [text.windows[0] for text in encoded]
        order = np.argsort([len(row) for row in ids], kind="stable")
        parts = [order[at : at + _TEXTS] for at in range(0, len(order), _TEXTS)]
        found = [
            self._session.run(*pad([ids[row] for row in part], self._pad_id))
            for part in track(parts, description=name)
        ]
        states = np.concatenate(found)
        return torch.tensor(states[np.argsort(order, kind="stable")])


class Head(nn.Module):
    """RoBERTa's classification head, without dropout.

    Args:
        tensors: `dense` and `out_proj`, by their names in a checkpoint without `classifier.`.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        classes, hidden = tensors["out_proj.weight"].shape
        self.dense, self.out_proj = nn.Linear(hidden, hidden), nn.Linear(hidden, classes)
        self.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})

    def forward(self, states: Tensor) -> Tensor:
        """Logits [texts, 2] for float32 [texts, hidden]."""
        logits: Tensor = self.out_proj(torch.tanh(self.dense(states)))
        return logits

    def logits(self, states: Tensor) -> Floats:
        """The same without gradients."""
        with torch.inference_mode():
            found: Floats = self(states).numpy().astype(np.float64)
        return found

    def margins(self, states: Tensor) -> Floats:
        """Positive logit minus negative: [texts]."""
        logits = self.logits(states)
        return logits[:, 1] - logits[:, 0]

    def learn(self, states: Tensor, wanted: Tensor, weights: Tensor, seed: int) -> None:
        """Bring the margins to those wanted; all float32 [texts], small margins count more."""
        torch.manual_seed(seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        weights = weights / weights.mean() / (0.1 + wanted.abs())
        for _ in track(range(EPOCHS), description="head"):
            for rows in torch.randperm(len(states)).split(BATCH):
                logits = self(states[rows])
                off = logits[:, 1] - logits[:, 0] - wanted[rows]
                optimizer.zero_grad()
                (weights[rows] * off.square()).mean().backward()
                optimizer.step()
            schedule.step()


def calibrate(model: Path, checkpoint: Path, settings: Settings) -> Figures:
    """Write the calibrated head of a checkpoint, float32, beside its weights.

    Args:
        model: directory that was made from the checkpoint, with any head.
        checkpoint: its head is the one to calibrate.
        settings: seed and data.
    """
    encoder = Encoder(open_artifact(model))
    head = Head(_head_of(load_file(checkpoint / WEIGHTS)))
    judged: dict[str, tuple[Tensor, Integers, Floats]] = {}
    figures: Figures = {}
    taught: list[tuple[Tensor, Tensor, Tensor]] = []
    for name, kind in kinds(settings).items():
        known = encoder.states(kind.judged, name)
        others = encoder.states(kind.unlabelled, f"{name}, unlabelled")
        labels = np.array([text.label for text in kind.judged])
        curve = fit_curve(head.margins(known), labels)
        judged[name] = known, labels, head.logits(known)
        shown = torch.cat([known, others])
        wanted = torch.tensor(curve(head.margins(shown)), dtype=torch.float32)
        weights = torch.tensor([JUDGED] * len(known) + [1] * len(others)) / len(shown)
        taught.append((shown, wanted, weights))
        halves = [cross_fitted(head.margins(known), labels, split) for split in range(SPLITS)]
        errors = [calibration_error(logits, labels) for logits in halves]
        losses = [negative_log_likelihood(logits, labels) for logits in halves]
        figures[name] = {
            "slopes": [round(slope, 3) for slope in curve.slopes],
            "cross_fitted_calibration_error": round(float(np.mean(errors)), 4),
            "cross_fitted_negative_log_likelihood": round(float(np.mean(losses)), 4),
        }
    states, wanted, weights = (torch.cat(part) for part in zip(*taught, strict=True))
    head.learn(states, wanted, weights, settings.seed)
    for name, (known, labels, before) in judged.items():
        figures[name] |= compare(before, head.logits(known), labels)
    tensors = {f"{_PREFIX}{name}": tensor for name, tensor in head.state_dict().items()}
    save_file(tensors, checkpoint / HEAD, metadata={"format": "pt"})
    (checkpoint / HEAD).chmod(0o644)
    _add_checksum(checkpoint / HEAD)
    return figures


def _head_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
    return {name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}


def compare(before: Floats, after: Floats, labels: Integers) -> Figures:
    """What a new head changed for labelled texts; logits float [texts, 2]."""
    right = [logits.argmax(axis=1) == labels for logits in (before, after)]
    errors = [calibration_error(logits, labels) for logits in (before, after)]
    losses = [negative_log_likelihood(logits, labels) for logits in (before, after)]
    return {
        "texts": len(labels),
        "accuracy": [round(float(part.mean()), 4) for part in right],
        "other_label": int((right[0] != right[1]).sum()),
        "calibration_error": [round(error, 4) for error in errors],
        "negative_log_likelihood": [round(loss, 4) for loss in losses],
    }


def _add_checksum(file: Path) -> None:
    """Put the file's sha256 into SHA256SUMS beside it."""
    sums = file.with_name("SHA256SUMS")
    lines = [line for line in sums.read_text("ascii").splitlines() if not line.endswith(file.name)]
    lines.append(f"{sha256_of(file)}  {file.name}")
    sums.write_text("\n".join(lines) + "\n", encoding="ascii")


def main() -> None:
    """Calibrate the head that a quantised model has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=Path("lab/training/checkpoint"))
    parser.add_argument("--seed", type=int, default=13)
    asked = parser.parse_args()
    settings = Settings(asked.data, asked.model, asked.checkpoint, seed=asked.seed)
    print(json.dumps(calibrate(asked.model, asked.checkpoint, settings), indent=2))


if __name__ == "__main__":
    main()
