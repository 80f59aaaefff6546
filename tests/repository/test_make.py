"""The make targets, as a newcomer types them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from tests.make import is_up_to_date, serving
from tests.service import free_ports


@pytest.mark.skipif(
    not is_up_to_date(".venv/server"),
    reason="make would replace .venv while these tests use it; run make test",
)
def test_make_serve_says_how_to_try_it() -> None:
    """When it says ready, the line it prints works; Ctrl-C ends it."""
    http, grpc, metrics = map(str, free_ports(3))
    ports = {
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": http,
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": grpc,
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
    }
    with serving("serve", ports) as (output, answer):
        assert f"ready: REST on {http}, gRPC on {grpc}, metrics on {metrics}" in output
        assert b'"negative","positive"' in answer


def test_a_wrong_python_gets_one_sentence(tmp_path: Path) -> None:
    """The first thing that can go wrong must say the way out."""
    fake = tmp_path / "python3"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.11.7" || echo 3.11\n')
    fake.chmod(0o755)
    for tool in ("bash", "sh"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    run = subprocess.run(
        ["/bin/bash", str(ROOT / "scripts" / "make_venv.sh"), str(tmp_path / "venv"), "x"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert 1 == run.returncode
    assert re.fullmatch(
        r"Python 3\.12 is needed \(found: Python 3\.11\.7\); install it, or say where it is: "
        r"make PYTHON=/path/to/python3\.12\n",
        run.stderr,
    )


def test_an_environment_of_others_is_not_cleared(tmp_path: Path) -> None:
    """A second checkout may link to the first one's environment, in which something runs."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "kept").touch()
    (tmp_path / "venv").symlink_to(theirs)
    run = subprocess.run(
        [ROOT / "scripts" / "make_venv.sh", tmp_path / "venv", "x"], capture_output=True, text=True
    )
    assert 1 == run.returncode
    assert "is a link" in run.stderr
    assert (theirs / "kept").exists()
