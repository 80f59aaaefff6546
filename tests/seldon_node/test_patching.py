"""Replacing parts of the wrapper: nothing is replaced that is not there, or not known."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from roberta_sentiment.errors import StartError
from seldon_node import patching, repairs
from tests import ROOT


def test_a_replacement_takes_the_place_of_the_original() -> None:
    """A second repair gets the first one's, and the record keeps what the package has brought."""
    owner = SimpleNamespace(__name__="upstream.module", serve="original")
    assert "original" == patching.patch(owner, "serve", "first")
    assert "first" == patching.patch(owner, "serve", "second")
    assert "second" == owner.serve
    assert "original" == patching.originals["upstream.module.serve"]


def test_what_is_not_there_is_not_replaced() -> None:
    """A repair that upstream has moved would do nothing, silently."""
    owner = SimpleNamespace(__name__="upstream.module")
    with pytest.raises(StartError, match=r"upstream\.module has no serve, which is to be replaced"):
        patching.patch(owner, "serve", "first")
    assert not hasattr(owner, "serve")


def test_the_installed_version_is_known() -> None:
    """The one that requirements.txt names."""
    patching.check_version()
    assert importlib.metadata.version("seldon-core") in patching.VERSIONS


def test_every_repair_records_what_it_replaces() -> None:
    """The list of what to look at with a new version of the wrapper."""
    repairs.apply()
    assert {
        "seldon_core.wrapper.get_rest_microservice",
        "seldon_core.wrapper.get_grpc_server",
        "seldon_core.wrapper.SeldonModelGRPC",
        "seldon_core.wrapper.get_request",
        "seldon_core.microservice.start_servers",
        "seldon_core.microservice.SeldonMetrics",
        "StandaloneApplication.load_config",
        "Arbiter.reap_workers",
    } <= patching.originals.keys()


STRANGE = """
import importlib.metadata
found = importlib.metadata.version
importlib.metadata.version = lambda name: "1.20.0" if name == "seldon-core" else found(name)
import Model
"""


def test_another_version_of_the_wrapper_aborts_startup() -> None:
    """With a sentence, before a server starts on repairs that may not fit."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGE], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert 1 == done.returncode
    assert "cannot start: seldon-core 1.20.0 is installed, but the repairs of it are for" in (
        done.stderr
    )
    assert "install seldon-core==1.19.0" in done.stderr
    assert "Traceback" not in done.stderr
