"""The page that Prometheus scrapes, made of the sums in the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from seldon_core import metrics as wrapper_metrics
from seldon_core import microservice, wrapper

from roberta_sentiment.serving.metrics import HELP
from roberta_sentiment.serving.patching import patch
from seldon_node.metrics_store import BOUNDS, COUNTER, MetricsStore, Series

_UNKNOWN = "A metric of the model's own."
_BOUNDS = [floatToGoString(bound) for bound in BOUNDS]  # type: ignore[no-untyped-call]


def repair() -> None:
    """Keep the sums in memory that all processes share, and render them as Prometheus wants."""
    patch(microservice, "SeldonMetrics", MetricsStore)
    patch(wrapper, "get_metrics_microservice", make_app)


def make_app(store: MetricsStore) -> Flask:
    """The application of the metrics port; it has this one page."""
    app = Flask(__name__, static_folder=None)

    @app.get(wrapper.METRICS_ENDPOINT)
    def page() -> Response:
        body, content_type = render(store, request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    return app


def render(store: MetricsStore, accept: str = "") -> tuple[bytes, str]:
    """The page and its content type, for any server to send.

    Args:
        store: where the sums are.
        accept: the request's header; decides between Prometheus' text format and OpenMetrics.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Totals(store.totals()))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Totals(Collector):
    """Sums in the form of prometheus_client, one family a name."""

    def __init__(self, totals: Mapping[Series, Sequence[float]]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Give every metric with all its series."""
        names = sorted({(name, kind) for kind, name, _ in self._totals})
        for name, kind in names:
            members = {s[2]: self._totals[s] for s in sorted(self._totals) if s[:2] == (kind, name)}
            make = _counter if kind == COUNTER else _histogram
            yield make(name, HELP.get(name, _UNKNOWN), members)


Members = Mapping[tuple[tuple[str, str], ...], Sequence[float]]


def _counter(name: str, documentation: str, members: Members) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation)
    for labels, numbers in members.items():
        family.add_sample(f"{name}_total", _with_defaults(labels), numbers[0])
    return family


def _histogram(name: str, documentation: str, members: Members) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, documentation)
    for pairs, numbers in members.items():
        _add_histogram(family, _with_defaults(pairs), numbers)
    return family


def _add_histogram(
    family: HistogramMetricFamily, labels: dict[str, str], numbers: Sequence[float]
) -> None:
    counts = list(itertools.accumulate(numbers[1:]))
    for bound, count in zip(_BOUNDS, counts, strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, counts[-1])
    family.add_sample(f"{family.name}_sum", labels, numbers[0])


def _with_defaults(labels: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {**dict(labels), **wrapper_metrics.DEFAULT_LABELS}
