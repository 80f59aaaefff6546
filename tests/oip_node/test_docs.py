"""docs/oip.md is true: its commands run."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from tests import ROOT
from tests.oip_node.server import Server

PAGE = (ROOT / "docs" / "oip.md").read_text(encoding="utf-8")


def block(word: str) -> str:
    """The one block of the page with a word in it."""
    (found,) = [body for body in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) if word in body]
    return str(found)


def test_curl(oip: Server) -> None:
    """The answer of the first page."""
    command = block("curl -s").replace("localhost:8080", f"localhost:{oip.http}")
    shown = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    assert ["positive", "negative"] == json.loads(shown)["outputs"][1]["data"]


def test_triton(oip: Server) -> None:
    """The gRPC example runs as it stands."""
    code = block("tritonclient").replace("localhost:8081", f"localhost:{oip.grpc}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "0.0082" in done.stdout and "0.991" in done.stdout, done.stderr
