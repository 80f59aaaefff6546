"""The image of the Open Inference Protocol as a pod: uid 8888, read-only root, no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ROOT
from tests.manifests.document import deployments
from tests.rehearsal import builder
from tests.rehearsal.cluster import containers
from tests.rehearsal.pod import Pod, obstacle

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(obstacle()), reason=obstacle()),
    pytest.mark.skipif(
        not (builder.OIP_ENVIRONMENT / "server").exists(),
        reason="MLServer's environment is missing; make test-oip makes it",
    ),
]


def test_the_pod_of_the_manifest(tmp_path: Path) -> None:
    """It starts, answers, counts where the annotation says, and ends with exit code 0."""
    (document,) = deployments(ROOT / "deploy" / "oip" / "seldon-core-1.yaml")
    (container,) = containers(document)
    with Pod(tmp_path / "pod", builder.build_oip(tmp_path), container).start() as pod:
        text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["This film is so good"]}
        path = "/v2/models/sentiment/infer"
        answer = pod.ask("post", container.ports.http, path, {"inputs": [text]})
        assert 200 == answer["status"], answer
        assert '"positive"' in answer["text"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert 200 == pod.probe(probe)
        page = pod.ask("get", container.ports.metrics, "/prometheus")
        assert "sentiment_answered_requests_total{" in page["text"]
        assert 0 == pod.stop()
        assert "Traceback" not in pod.log()
