"""`make serve-oip`, as a newcomer types it."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from tests import ROOT
from tests.oip_node.server import free_ports


def is_up_to_date(target: str) -> bool:
    """Whether make would do nothing for a target."""
    done = subprocess.run(["make", "--question", target], cwd=ROOT, capture_output=True)
    return done.returncode == 0


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
    with subprocess.Popen(
        ["make", "serve-oip"], cwd=ROOT, env={**os.environ, **ports}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            output = ""
            for line in process.stdout:
                output += line
                if line.startswith("curl"):
                    break
            assert "starting: .venv-oip/bin/mlserver start oip_node/sentiment\n" in output
            assert f"ready: REST on {http}, gRPC on {grpc}, metrics on {metrics}" in output
            answer = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
            assert b'"data":["positive","negative"]' in answer
        finally:
            os.killpg(process.pid, signal.SIGINT)
        process.stdout.close()
        process.wait(60)
