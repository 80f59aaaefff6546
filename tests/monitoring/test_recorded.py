"""The rules tried by promtool on metrics pages that a real executor served, over REST and gRPC.

What each page has counted is taken to come again every minute. On both pages one of two models was
killed at the end (tests/fixtures/executor).
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.test_monitoring import FIXTURES, RULES

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)

EXECUTOR_ALERTS = ("SentimentModelErrors", "SentimentPredictorErrors")
MODEL = {"deployment_name": "sentiment-ab", "predictor_name": "default"}
FAILURES = ("500", "Unavailable")

Keep = Callable[[Mapping[str, str]], bool]


def everything(labels: Mapping[str, str]) -> bool:
    return True


def healthy(labels: Mapping[str, str]) -> bool:
    """Without what failed; what was refused for the caller's fault stays."""
    return labels["code"] not in FAILURES


def failed(labels: Mapping[str, str]) -> bool:
    """Failures alone: no series of answers has ever begun."""
    return labels["code"] in FAILURES


def answered(labels: Mapping[str, str]) -> bool:
    return labels["code"] in ("200", "OK")


def series_of(transport: str, keep: Keep, values: str) -> Iterator[dict[str, str]]:
    """The executor's series as promtool's input.

    Args:
        transport: rest or grpc, the page.
        keep: which series, by their labels.
        values: promtool's notation, with `N` for what was counted.
    """
    page = (FIXTURES / f"metrics-{transport}.txt").read_text(encoding="utf-8")
    for family in text_string_to_metric_families(page):
        for name, labels, value, *_ in family.samples:
            if name.startswith("seldon_") and "summary" not in name and keep(labels):
                text = ", ".join(f'{key}="{value}"' for key, value in labels.items())
                number = value if math.isfinite(value) else 0
                yield {"series": f"{name}{{{text}}}", "values": values.replace("N", str(number))}


def promtool(tmp_path: Path, series: list[dict[str, str]], checks: Mapping[str, Any]) -> None:
    """Let promtool compare at 30 minutes."""
    test = {"interval": "1m", "input_series": series, **checks}
    content = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def alerts(expected: Mapping[str, list[tuple[str, str, str]]]) -> dict[str, Any]:
    """Checks of all alerts on the executor: share, label and its value of each that fires."""
    described = {
        "SentimentModelErrors": "Seldon's executor gets errors from {} in sentiment-ab/default; "
        "over gRPC also no answer.",
        "SentimentPredictorErrors": "Seldon's executor answers {} with server errors: a model "
        "fails, or does not answer.",
    }
    whose = {"SentimentModelErrors": "{}", "SentimentPredictorErrors": "sentiment-ab/default"}
    return {
        "alert_rule_test": [
            {
                "eval_time": "30m",
                "alertname": name,
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": "critical", **MODEL, label: value},
                        "exp_annotations": {
                            "summary": f"{share} of the calls to {whose[name].format(value)} fail",
                            "description": described[name].format(value),
                        },
                    }
                    for share, label, value in expected.get(name, [])
                ],
            }
            for name in EXECUTOR_ALERTS
        ]
    }


REST_DEAD = {
    "SentimentPredictorErrors": [
        ("11.54%", "service", "predictions"),
        ("12.5%", "service", "feedback"),
    ]
}
GRPC_DEAD = {
    "SentimentModelErrors": [("37.5%", "model_name", "lexicon")],
    "SentimentPredictorErrors": [("17.65%", "service", "/seldon.protos.Seldon/Predict")],
}


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        pytest.param("rest", REST_DEAD, id="rest: no series of the model tells it"),
        pytest.param("grpc", GRPC_DEAD, id="grpc: both show it"),
    ],
)
def test_a_dead_model_is_seen(tmp_path: Path, transport: str, expected: Any) -> None:
    """With the labels and codes that the executor gives, of which no rule may miss one."""
    promtool(tmp_path, list(series_of(transport, everything, "0+Nx40")), alerts(expected))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_what_is_the_callers_fault_is_no_alert(tmp_path: Path, transport: str) -> None:
    """400, 413, 415, InvalidArgument and ResourceExhausted, on models that live."""
    promtool(tmp_path, list(series_of(transport, healthy, "0+Nx40")), alerts({}))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_nothing_asked_is_no_alert(tmp_path: Path, transport: str) -> None:
    """0 of 0 calls: NaN is neither above nor below a threshold, and must not become a series."""
    checks = alerts({})
    names = ("model:seldon_client_errors:ratio5m", "predictor_service:seldon_server_errors:ratio5m")
    checks["promql_expr_test"] = [
        {"expr": name, "eval_time": "30m", "exp_samples": []} for name in names
    ]
    promtool(tmp_path, list(series_of(transport, everything, "Nx40")), checks)


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        pytest.param(
            "rest",
            {
                "SentimentPredictorErrors": [
                    ("100%", "service", "predictions"),
                    ("100%", "service", "feedback"),
                ]
            },
            id="rest",
        ),
        pytest.param(
            "grpc",
            {
                "SentimentModelErrors": [("100%", "model_name", "lexicon")],
                "SentimentPredictorErrors": [("100%", "service", "/seldon.protos.Seldon/Predict")],
            },
            id="grpc",
        ),
    ],
)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param("0+Nx40", id="from the start"),
        pytest.param("_x10 N+Nx30", id="series that began late"),
        pytest.param("0+Nx20 N+Nx20", id="executor restarted"),
    ],
)
def test_a_model_that_never_answered_is_seen(
    tmp_path: Path, transport: str, expected: Any, values: str
) -> None:
    """Then there is no series of answers to compare with."""
    promtool(tmp_path, list(series_of(transport, failed, values)), alerts(expected))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_latency_is_that_of_answers(tmp_path: Path, transport: str) -> None:
    """A refusal takes a fraction of the time, so refused callers would make the model look fast."""
    p95 = "model:seldon_client_seconds:p95_5m"
    with_refusals, without = (
        promtool_samples(tmp_path, p95, list(series_of(transport, keep, "0+Nx40")))
        for keep in (everything, answered)
    )
    assert without == with_refusals
    assert all(f'model_name="{model}"' in without for model in ("roberta", "lexicon")), without


def promtool_samples(tmp_path: Path, expr: str, series: list[dict[str, str]]) -> str:
    """What an expression gives at 30 minutes, as promtool prints it."""
    check = {"expr": expr, "eval_time": "30m", "exp_samples": [{"labels": "none", "value": 0}]}
    with pytest.raises(AssertionError) as caught:
        promtool(tmp_path, series, {"promql_expr_test": [check]})
    return str(caught.value).partition("got:")[2]
