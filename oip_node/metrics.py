"""The counts of the Seldon door, by prometheus_client in MLServer's own metrics page."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Histogram

from roberta_sentiment.errors import SentimentError
from roberta_sentiment.predictions import Predictions
from roberta_sentiment.serving import metrics

_BUCKETS = [0.001 * 30_000 ** (i / 49) for i in range(50)]
"""Upper bounds of the Seldon wrapper's histograms, s: 50 from 1 ms to 30 s."""

_VARIABLES = {"deployment_name": "SELDON_DEPLOYMENT_ID", "predictor_name": "PREDICTOR_ID"}

_families: dict[str, Counter | Histogram] = {}
"""One a process, whatever models it serves; made when a model is loaded, because MLServer decides
only then whether its processes count together."""


class Recorder:
    """Counts the requests of one model.

    Args:
        name: of the model in its server.
        labels: of the model; their series begin at 0.
        device: where it runs.
    """

    def __init__(self, name: str, labels: Sequence[str], device: str) -> None:
        node = {label: os.environ.get(name, "") for label, name in _VARIABLES.items()}
        self._labels = {**node, "model_name": os.environ.get("PREDICTIVE_UNIT_ID") or name}
        for definition in metrics.DEFINITIONS:
            if definition.name not in _families:
                _families[definition.name] = _family(definition, self._labels)
        self._series = functools.cache(self._find_series)  # prometheus_client is slow to find one
        known = metrics.initial_metrics(labels, device)
        for method in ("predict", "other"):
            for metric in known[method]:
                self._series(metric["key"], method, *metric["tags"].items())

    def answered(self, predictions: Predictions) -> None:
        """Count an answered request."""
        self._record(metrics.prediction_metrics(predictions))

    def refused(self, error: SentimentError) -> None:
        """Count a refused or failed request."""
        self._record(metrics.error_metrics(error))

    def _record(self, counts: Iterable[metrics.Metric]) -> None:
        for metric in counts:
            series = self._series(metric["key"], "predict", *metric["tags"].items())
            if isinstance(series, Histogram):
                series.observe(metric["value"] / 1000)
            else:
                series.inc(metric["value"])

    def _find_series(self, name: str, method: str, *tags: tuple[str, str]) -> Counter | Histogram:
        return _families[name].labels(**self._labels, **dict(tags), method=method)


def _family(definition: metrics.Definition, labels: Iterable[str]) -> Counter | Histogram:
    names = (*labels, *definition.labels, "method")
    if definition.type == "counter":
        return Counter(definition.name, definition.help, names)
    return Histogram(definition.name, definition.help, names, buckets=_BUCKETS)
