"""Seldon's own testers, which users point at a new component first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.service import Service

TESTER = Path(sys.executable).with_name("seldon-core-microservice-tester")


@pytest.mark.parametrize("endpoint", ["predict", "send-feedback"])
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_contract(service: Service, transport: str, endpoint: str) -> None:
    """The tester never looks at the answer, so its output is read here: scores, or a count."""
    port = service.http if transport == "rest" else service.grpc
    counted = service.counter("sentiment_feedback_total") + service.counter(
        "sentiment_rewards_total"
    )
    run = subprocess.run(
        [
            str(TESTER), "contract.json", "127.0.0.1", str(port), "-p", "-n", "3", "-b", "2",
            "--endpoint", endpoint, *(["--grpc"] if transport == "grpc" else []),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert 0 == run.returncode, run.stderr
    assert "FAILURE" not in run.stdout
    if endpoint == "predict":
        assert 3 == run.stdout.count('names: "positive"'), run.stdout
    else:
        now = service.counter("sentiment_feedback_total") + service.counter(
            "sentiment_rewards_total"
        )
        assert now > counted
