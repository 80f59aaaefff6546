"""`evaluate`: all figures of one model, and of a second one beside it."""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from roberta_sentiment import __version__, container
from roberta_sentiment.classifier import Probabilities, load_classifier
from roberta_sentiment.errors import DataError
from roberta_sentiment.label_names import label_named
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.settings import HeadSetting, Settings
from roberta_sentiment.tools.evaluate.measure import Latency, Track, answer, latency
from roberta_sentiment.tools.extras import need
from roberta_sentiment.tools.labelled import Labelled, read_labelled
from roberta_sentiment.tools.metrics import Comparison, Quality, compare, quality

FORMAT = 2
LATENCY_TEXTS = 500

_LIBRARIES = ("onnxruntime", "tokenizers", "numpy", "scikit-learn", "statsmodels")


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of a text, special tokens included; percentiles by linear interpolation."""

    total: int
    mean: float
    p50: float
    p90: float
    p99: float
    most: int


@dataclasses.dataclass(frozen=True)
class Result:
    """One model on the texts.

    Attributes:
        name: of the model; with the version behind it if the other has the same name.
        sha256, precision: of the model.
        labels: names of the k classes.
        quality: of its answers.
        latency: of one text alone.
        texts_per_second: many texts in a call, tokenisation included.
        tokens: of the texts.
        truncated: texts of which the model saw only a part.
    """

    name: str
    sha256: str
    precision: str
    labels: tuple[str, ...]
    quality: Quality
    latency: Latency
    texts_per_second: float
    tokens: Tokens
    truncated: int


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A text with a wrong label.

    Attributes:
        number: of the text in the file, from 1.
        text, truth: as in the file.
        label, score: by the model.
    """

    number: int
    text: str
    truth: str
    label: str
    score: float


@dataclasses.dataclass(frozen=True)
class Flip(Mistake):
    """A text with another label, right or wrong.

    Attributes:
        other_label, other_score: by the other model.
    """

    other_label: str
    other_score: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model on a labelled file.

    Attributes:
        facts: when, where and with what.
        remarks: what the user should know of the file's labels.
        model: the model.
        other: the one it is compared with, if any.
        mistakes: of the model, the one with the highest score first.
        comparison: of the two; "first" is the model, "second" the other.
        flips: the texts of `comparison.flips`.
        truth: (n,) indices of classes.
        probabilities: (n, k) float64 of the model.
    """

    facts: dict[str, Any]
    remarks: Sequence[str]
    model: Result
    other: Result | None
    mistakes: tuple[Mistake, ...]
    comparison: Comparison | None
    flips: tuple[Flip, ...]
    truth: Sequence[int]
    probabilities: Probabilities

    def as_json(self) -> dict[str, Any]:
        """All figures, and of the answers those that are wrong or differ between the models."""
        content = {**self.facts, "model": dataclasses.asdict(self.model)}
        content["mistakes"] = [dataclasses.asdict(mistake) for mistake in self.mistakes]
        if self.other and self.comparison:
            compared = dataclasses.asdict(self.comparison)
            compared["flips"] = [dataclasses.asdict(flip) for flip in self.flips]
            content["compare"] = {"model": dataclasses.asdict(self.other), **compared}
        return content


def evaluate(
    path: Path,
    artifact: Artifact,
    settings: Settings,
    *,
    other: Artifact | None = None,
    limit: int = 0,
    numbered: Sequence[str] = (),
    text_column: str = "",
    label_column: str = "",
    label_map: Mapping[str, str] | None = None,
    latency_texts: int = LATENCY_TEXTS,
    track: Track = lambda positions, name: positions,
) -> Evaluation:
    """Judge a model by a labelled file, of which each text has one label.

    A multi-label model is judged by the label with the highest score.

    Args:
        path: see `read_labelled`.
        artifact: the model.
        settings: limits and policies of both models.
        other: a model to compare it with.
        limit: texts to read; 0 reads all.
        numbered, text_column, label_column: see `read_labelled`.
        label_map: what names in the file and of the other model stand for.
        latency_texts: texts that are timed alone.
        track: shows the progress of a loop.

    Raises:
        DataError: the file can't be read, a text in it can't be scored, or the two models have
            different labels.
        StartError: a model can't be loaded, or a library is not installed.
        InferenceError: a model failed.
    """
    for module in ("sklearn.metrics", "statsmodels.stats.proportion"):
        need(module)
    for judged in filter(None, (artifact, other)):
        refuse_values(judged, settings.head)
    order = _order(artifact, other, label_map or {}) if other else []
    data = read_labelled(
        path,
        artifact.labels,
        limit,
        numbered=numbered,
        text_column=text_column,
        label_column=label_column,
        label_map=label_map,
    )
    measure = functools.partial(
        _measure, data=data, settings=settings, latency_texts=latency_texts, track=track,
        qualified=other is not None and other.name == artifact.name,
    )  # fmt: skip
    first = measure(artifact, range(len(artifact.labels)))
    second = measure(other, order) if other else None
    return _judge(first, second, data, _facts(path, data, settings))


_Measured = tuple[Result, Probabilities]


def _measure(
    artifact: Artifact,
    order: Sequence[int],
    *,
    qualified: bool,
    data: Labelled,
    settings: Settings,
    latency_texts: int,
    track: Track,
) -> _Measured:
    """Run a model over the texts; `order` has its index of each class."""
    classifier = load_classifier(artifact, settings)
    answers = answer(classifier, data.texts, track)
    timed = latency(classifier, data.texts, latency_texts, track)
    probabilities = answers.probabilities[:, order]
    result = Result(
        name=f"{artifact.name} {artifact.version}" if qualified else artifact.name,
        sha256=artifact.sha256,
        precision=artifact.precision,
        labels=tuple(artifact.labels[i] for i in order),
        quality=quality(data.labels, probabilities),
        latency=timed,
        texts_per_second=len(answers.tokens) / answers.seconds,
        tokens=_tokens(answers.tokens),
        truncated=answers.truncated,
    )
    return result, probabilities


def _judge(
    first: _Measured, second: _Measured | None, data: Labelled, facts: dict[str, Any]
) -> Evaluation:
    model, probabilities = first
    other, others = second or (None, None)
    comparison = None if others is None else compare(data.labels, probabilities, others)
    flips: tuple[Flip, ...] = ()
    if comparison is not None and others is not None:
        flips = _flips(comparison.flips, data, model.labels, probabilities, others)
    return Evaluation(
        facts=facts,
        remarks=data.remarks(),
        model=model,
        other=other,
        mistakes=_mistakes(data, model.labels, probabilities),
        comparison=comparison,
        flips=flips,
        truth=data.labels,
        probabilities=probabilities,
    )


def _mistakes(
    data: Labelled, labels: Sequence[str], probabilities: Probabilities
) -> tuple[Mistake, ...]:
    best, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(best != np.asarray(data.labels))
    surest_first = wrong[np.argsort(-scores[wrong], kind="stable")]
    return tuple(
        Mistake(i + 1, data.texts[i], labels[data.labels[i]], labels[best[i]], float(scores[i]))
        for i in surest_first.tolist()
    )


def _flips(
    positions: Sequence[int],
    data: Labelled,
    labels: Sequence[str],
    first: Probabilities,
    second: Probabilities,
) -> tuple[Flip, ...]:
    return tuple(
        Flip(
            number=i + 1,
            text=data.texts[i],
            truth=labels[data.labels[i]],
            label=labels[first[i].argmax()],
            score=float(first[i].max()),
            other_label=labels[second[i].argmax()],
            other_score=float(second[i].max()),
        )
        for i in positions
    )


def refuse_values(artifact: Artifact, setting: HeadSetting = "auto") -> None:
    """Refuse a model that chooses no label.

    Raises:
        DataError: its outputs are values.
    """
    if artifact.head(setting).is_regression:
        raise DataError(
            f"{artifact.name} gives values ({', '.join(artifact.labels)[:80]}) and chooses no "
            "label, so labels can't judge it; score the file and compare the values"
        )


def _order(artifact: Artifact, other: Artifact, label_map: Mapping[str, str]) -> list[int]:
    """For each class of the model its index in the other."""
    names = [label_named(label, artifact.labels, label_map) for label in other.labels]
    order = [names.index(label) for label in artifact.labels if label in names]
    if not len(order) == len(names) == len(artifact.labels):
        raise DataError(
            f"{artifact.name} has the labels {', '.join(artifact.labels)}, {other.name} has "
            f"{', '.join(other.labels)}; --label-map FROM=TO,... says what those of the latter mean"
        )
    return order


def _tokens(lengths: Sequence[int]) -> Tokens:
    p50, p90, p99 = (float(p) for p in np.percentile(lengths, [50, 90, 99]))
    return Tokens(sum(lengths), sum(lengths) / len(lengths), p50, p90, p99, max(lengths))


def _facts(path: Path, data: Labelled, settings: Settings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": path.name, "sha256": sha256_of(path), "labels": dict(data.meanings)},
        "settings": {
            name: getattr(settings, name)
            for name in ("truncation", "max_tokens", "window_overlap", "batch_tokens", "threads")
        },
        "machine": {
            "processor": container.processor(),
            "cpus": container.available_cpus(),
            "features": list(container.features()),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {
            "roberta-sentiment": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }
