"""`make serve-oip`, as a newcomer types it."""

from __future__ import annotations

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from tests.make import is_up_to_date, serving
from tests.oip_node.server import free_ports


@pytest.mark.skipif(
    not is_up_to_date(".venv-oip/server"),
    reason="make would make .venv-oip again while these tests use it; run make test-oip",
)
def test_make_serve_oip_says_how_to_try_it() -> None:
    """It prints the plain command that it runs; the line it prints when ready works."""
    http, grpc, metrics = map(str, free_ports(3))
    ports = {
        "MLSERVER_HTTP_PORT": http, "MLSERVER_GRPC_PORT": grpc, "MLSERVER_METRICS_PORT": metrics,
    }  # fmt: skip
    with serving("serve-oip", ports) as (output, answer):
        assert "starting: .venv-oip/bin/mlserver start oip_node/sentiment\n" in output
        assert f"ready: REST on {http}, gRPC on {grpc}, metrics on {metrics}" in output
        assert b'"data":["positive","negative"]' in answer
