"""Rules and dashboard against what a running node really exports."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests import ROOT
from tests.monitoring.promql import Page, Series, Unknown, labels_of
from tests.service import Service

MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "rules.yaml"
RULE_TESTS = Path(__file__).with_name("rules_test.yaml")

FIXTURES = ROOT / "tests" / "fixtures" / "executor"


def read_pages(*names: str) -> Mapping[str, Series]:
    """Series by metric of recorded pages."""
    found: dict[str, Any] = defaultdict(list)
    for name in names:
        page = (FIXTURES / name).read_text(encoding="utf-8")
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name.startswith("seldon_"):
                    found[sample.name].append(sample.labels)
    return found


EXECUTOR = read_pages("metrics-rest.txt", "metrics-grpc.txt")
TARGETS: Mapping[str, Series] = {
    "up": [dict.fromkeys(("job", "namespace", "pod", "instance", "seldon_deployment_id"), "")]
}
"""What Prometheus itself adds for each target of deploy/monitoring/pod-monitor.yaml."""


@functools.cache
def rules() -> list[dict[str, Any]]:
    """Every rule, in the order of the file."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@functools.cache
def dashboard() -> dict[str, Any]:
    """The dashboard."""
    content: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    return content


def panels() -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Title and PromQL of every panel, Grafana's variables filled in."""
    for panel in panels():
        for target in panel["targets"]:
            text = re.sub(r"\$(deployment|model)\b", ".*", target["expr"])
            yield panel["title"], text.replace("$__rate_interval", "5m")


@pytest.fixture(scope="module")
def page(service: Service) -> Page:
    """A node's metrics page after every kind of event, with the rules evaluated on top."""
    texts = {"data": {"ndarray": ["A wonderful film.", "A dreadful film. " * 400]}}
    answer = service.post(texts).json()
    other = json.loads(json.dumps(answer))
    other["meta"]["tags"]["model_version"] = "another"
    assert 400 == service.post({"data": {"ndarray": []}}).status_code
    for response, reward in ((answer, 1), (answer, -1), (other, 1)):
        truth = {"data": {"ndarray": ["positive", "positive"]}}
        body = {"request": texts, "response": response, "truth": truth, "reward": reward}
        done = service.post(body, "/api/v1.0/feedback")
        assert 200 == done.status_code, done.text
    scraped: dict[str, Any] = defaultdict(list)
    for family in text_string_to_metric_families(service.scrape()):
        for sample in family.samples:
            scraped[sample.name].append(sample.labels)
    known = Page({**scraped, **EXECUTOR, **TARGETS}, {})
    for rule in rules():
        if "record" in rule:
            labels = labels_of(rule["expr"], known)
            known = Page(known.scraped, {**known.recorded, rule["record"]: labels})
    return known


def test_targets_have_the_label_that_the_alert_on_them_needs() -> None:
    """Prometheus makes it of the pod's label, which Seldon's operator sets."""
    monitor = yaml.safe_load((MONITORING / "pod-monitor.yaml").read_text(encoding="utf-8"))
    assert ["seldon-deployment-id"] == monitor["spec"]["podTargetLabels"]
    assert "seldon_deployment_id" in TARGETS["up"][0]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record") or rule["alert"])
def test_every_rule_uses_metrics_and_labels_that_exist(page: Page, rule: dict[str, Any]) -> None:
    """A rule on a metric that is not exported never fires and never complains."""
    labels = labels_of(rule["expr"], page)
    of_a_model = {"deployment_name", "predictor_name", "model_name"}
    of_a_service = {"deployment_name", "predictor_name", "service"}
    of_a_target = {"instance", "seldon_deployment_id"}
    assert any(level <= labels for level in (of_a_model, of_a_service, of_a_target))
    for text in rule.get("annotations", {}).values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels


@pytest.mark.parametrize(("title", "expr"), list(queries()))
def test_every_panel_uses_metrics_and_labels_that_exist(page: Page, title: str, expr: str) -> None:
    """A panel on a metric that is not exported shows "no data", which reads like "all is well"."""
    labels = labels_of(expr, page)
    legends = [t["legendFormat"] for p in panels() if p["title"] == title for t in p["targets"]]
    assert {name for text in legends for name in re.findall(r"{{(\w+)}}", text)} <= labels


def test_variables_are_filled_from_labels_that_exist(page: Page) -> None:
    """An empty choice empties every panel."""
    variables = [v for v in dashboard()["templating"]["list"] if v["type"] == "query"]
    assert ["deployment", "model"] == [v["name"] for v in variables]
    for variable in variables:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert match
        selector = re.sub(r"\$\w+", ".*", match[1])
        assert match[2] in labels_of(selector, page)


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("rate(sentiment_text_total[5m])", "no metric sentiment_text_total"),
        ("sum by (node) (rate(sentiment_texts_total[5m]))", "no node in"),
        ('rate(sentiment_reward_sum_total{sign="plus"}[1d])', "no plus in"),
        ('rate(sentiment_texts_total{lable="x"}[1d])', "no lable in"),
        ("sum by (label) (rate(sentiment_texts_total[5m])) / sum(sentiment_tokens_total)", "never"),
        ("sum by (le) (rate(sentiment_infer_seconds_sum[5m]))", "no le in"),
    ],
)
def test_mistakes_are_found(page: Page, expr: str, message: str) -> None:
    """The check itself must be able to fail."""
    with pytest.raises(Unknown, match=message):
        labels_of(expr, page)


def test_what_is_asked_for_is_shown() -> None:
    """Accuracy, confusion, reward, latency, truncation and drift, each per model."""
    titles = " ".join(panel["title"].lower() for panel in panels())
    for word in ("accuracy", "confusion", "reward", "latency", "truncated", "drift", "split"):
        assert word in titles
    assert all(panel["description"] for panel in panels())


def test_panels_do_not_overlap() -> None:
    """Grafana moves overlapping panels wherever it likes."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_alert_is_explained() -> None:
    """The person on call reads docs/monitoring.md, and nothing there may be stale."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == set(re.findall(r"^### (Sentiment\w+)", text, re.MULTILINE))
    shown = set(re.findall(r"\bSentiment[A-Z]\w+", json.dumps(dashboard())))
    assert shown <= alerts


def test_every_recorded_series_is_used() -> None:
    """A series that is never read still costs memory in Prometheus."""
    used = " ".join(rule["expr"] for rule in rules()) + " ".join(expr for _, expr in queries())
    for rule in rules():
        if "record" in rule:
            assert rule["record"] in used


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should_and_only_then() -> None:
    """Prometheus' own unit tests of rules: simulated series in, alerts out."""
    done = subprocess.run(
        ["promtool", "test", "rules", str(RULE_TESTS)], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "stays silent"])
def test_the_alert_tests_cover_every_alert(fires: bool) -> None:
    """Also where promtool is not installed: each has a case that fires and one that does not."""
    cases = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    tried = {
        case["alertname"]
        for test in cases
        for case in test.get("alert_rule_test", [])
        if bool(case.get("exp_alerts")) == fires
    }
    assert {rule["alert"] for rule in rules() if "alert" in rule} == tried
