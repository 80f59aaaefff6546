"""The metrics page, read by strict parsers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from typing import Any

import pytest
import requests
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from roberta_sentiment.serving import metrics
from seldon_node import metrics_page
from seldon_node.metrics_store import MetricsStore
from tests.service import Service

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def store() -> MetricsStore:
    """A store with every series that a node begins with, and with a few events."""
    store = MetricsStore()
    for method, begun in metrics.initial_metrics(("negative", "positive")).items():
        store.begin(begun, method)
    store.update(metrics.feedback_metrics([("positive", "negative")], -0.5), "feedback")
    store.update(metrics.refusal_metrics("OVERLOADED"), "predict")
    store.update([{"type": "TIMER", "key": "sentiment_infer_seconds", "value": 20}], "predict")
    return store


def lines(page: str, word: str) -> Counter[str]:
    """How often each metric has a comment of a kind."""
    return Counter(re.findall(rf"^# {word} (\S+)", page, re.MULTILINE))


def strict(page: bytes) -> list[Any]:
    """The families of an OpenMetrics page."""
    return list(openmetrics_families(page.decode()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", OPENMETRICS])
def test_every_metric_has_one_help_and_one_type(store: MetricsStore, accept: str) -> None:
    """Strict parsers refuse a second HELP or TYPE; an empty HELP explains nothing."""
    page = metrics_page.render(store, accept)[0].decode()
    assert lines(page, "HELP") == lines(page, "TYPE")
    assert {1} == set(lines(page, "HELP").values())
    assert not re.search(r"^# HELP \S+ *$", page, re.MULTILINE)


def test_the_strict_parser_of_openmetrics_takes_it(store: MetricsStore) -> None:
    """It refuses interleaved families, wrong suffixes, buckets out of order and a missing end."""
    body, content_type = metrics_page.render(store, OPENMETRICS)
    families = strict(body)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert {d.name for d in metrics.DEFINITIONS} >= {f.name for f in families}
    assert {d.name: d.help for d in metrics.DEFINITIONS}.items() >= {
        f.name: f.documentation for f in families
    }.items()


def test_both_formats_say_the_same(store: MetricsStore) -> None:
    """Prometheus chooses by its own settings; the numbers must not depend on that."""

    def samples(families: Any) -> dict[Any, float]:
        return {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples}

    text = metrics_page.render(store)[0].decode()
    other = metrics_page.render(store, OPENMETRICS)[0]
    assert samples(text_string_to_metric_families(text)) == samples(strict(other))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(store: MetricsStore) -> None:
    """Prometheus' own linter: names, units, suffixes, help."""
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics_page.render(store)[0],
        capture_output=True,
        check=False,
    )
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_the_content_type_has_its_charset_once(service: Service, accept: str) -> None:
    """Over HTTP, where the wrapper adds a second one."""
    url = f"http://127.0.0.1:{service.metrics}/metrics"
    answer = requests.get(url, headers={"Accept": accept}, timeout=10)
    assert 200 == answer.status_code
    assert 1 == answer.headers["Content-Type"].count("charset")


def test_every_series_is_there_before_the_first_event(store: MetricsStore) -> None:
    """An alert on a series that never began can't fire; only unknown labels may come later."""
    page = metrics_page.render(store)[0].decode()
    begun = set(lines(page, "TYPE"))
    assert {
        d.name + ("_total" if d.type == "counter" else "") for d in metrics.DEFINITIONS
    } == begun


def test_no_series_belongs_to_a_worker(store: MetricsStore) -> None:
    """2766, 2873: series of dead workers pile up, and `rate` loses what a new one has counted."""
    assert b"worker_id" not in metrics_page.render(store)[0]
