"""Each defect of the wrapper that we repair, shown with its repair left out."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from seldon_core.metrics import SeldonMetrics
from seldon_core.proto import prediction_pb2

from roberta_sentiment.serving import patching
from seldon_node import repairs
from tests import ROOT, toy
from tests.hostile import attacks
from tests.served.test_lifecycle import grpc_answers, listening_on
from tests.service import Service
from tests.wire import to_proto

WHY = "upstream has fixed this: delete the repair"


@pytest.fixture
def without(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A service with one repair left out."""
    path = toy.write(tmp_path / "toy", positions=514)
    with Service(MODEL_URI=str(path), SELDON_REPAIRS_OFF=request.param).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        yield service


@pytest.mark.parametrize("without", ["http_errors"], indirect=True)
def test_http_errors(without: Service) -> None:
    """4930: an unknown path, a wrong method and a wrong content type are a 500."""
    answers = [
        requests.delete(without.url("/predict"), timeout=10),
        requests.post(without.url("/predict"), data="{}", timeout=10),
    ]
    assert [500, 500] == [answer.status_code for answer in answers], WHY


@pytest.mark.parametrize("without", ["rest_server"], indirect=True)
def test_rest_server(without: Service) -> None:
    """As many requests as there are threads, none of which arrives whole, and nobody is served."""
    with attacks.half_bodies(without), pytest.raises(requests.Timeout):
        requests.post(without.url("/predict"), json={"strData": "good"}, timeout=2)


@pytest.mark.parametrize("without", ["grpc_server"], indirect=True)
def test_grpc_server(without: Service) -> None:
    """As many calls as there are threads, no message of which comes, and nobody is served."""
    with attacks.calls_without_message(without):
        without.wait_for(lambda: not _answers_soon(without), f"held threads ({WHY})")


def _answers_soon(service: Service) -> bool:
    try:
        service.stub().Predict(to_proto({"strData": "good"}), timeout=2)
    except grpc.RpcError as error:
        assert grpc.StatusCode.DEADLINE_EXCEEDED == error.code()
        return False
    return True


@pytest.mark.parametrize("without", ["grpc_errors"], indirect=True)
def test_grpc_errors(without: Service) -> None:
    """3924: an error is UNKNOWN whatever it was, and 4 MiB are the limit."""
    with pytest.raises(grpc.RpcError) as caught:
        without.stub().SendFeedback(prediction_pb2.Feedback(), timeout=10)
    assert grpc.StatusCode.UNKNOWN == caught.value.code(), WHY
    with pytest.raises(grpc.RpcError) as caught:
        without.predict(to_proto({"strData": "a" * 5 * 2**20}))
    assert "larger than max" in str(caught.value.details()), WHY


@pytest.mark.parametrize("without", ["metrics"], indirect=True)
def test_metrics(without: Service) -> None:
    """2704: a worker that ends cleanly takes its counts away, and its series with them."""
    assert 200 == without.post({"strData": "good"}).status_code
    over_grpc = 1
    assert over_grpc + 1 == without.counter("sentiment_texts_total")
    worker = listening_on(without.http)[-1]
    os.kill(worker, signal.SIGTERM)
    without.wait_for(lambda: worker not in without.processes(), "its end")
    without.wait_for(lambda: without.health() == 200, "recovery")
    assert over_grpc == without.counter("sentiment_texts_total"), WHY


def test_a_reward_of_zero() -> None:
    """2115: the wrapper does not count a reward of 0 at all."""
    store = SeldonMetrics()
    store.update_reward(0)
    assert [] == list(store.collect()), WHY


@pytest.mark.parametrize("without", ["http_errors,grpc_errors,metrics,processes"], indirect=True)
def test_the_node_counts_whatever_is_left_out(without: Service) -> None:
    """A node that serves uncounted looks like one without traffic; the log says what is off."""
    assert 200 == without.post({"strData": "good"}).status_code
    without.predict(to_proto({"strData": "good"}))
    assert 3 == without.counter("sentiment_texts_total")
    assert "SELDON_REPAIRS_OFF leaves out grpc_errors, http_errors, metrics" in without.log()
    for pid in without.processes():
        os.kill(pid, signal.SIGKILL)
    without.process.wait()


@pytest.mark.parametrize("without", ["processes"], indirect=True)
def test_sigterm(without: Service) -> None:
    """After SIGTERM the gRPC side lives on, and the process with it."""
    without.process.terminate()
    without.wait_for(lambda: not listening_on(without.http), "the end of REST")
    assert grpc_answers(without), WHY
    assert without.process.poll() is None, WHY
    for pid in without.processes():
        os.kill(pid, signal.SIGKILL)


def test_the_installed_version_is_known() -> None:
    """The one that requirements.txt names."""
    repairs.check_version()
    assert importlib.metadata.version("seldon-core") in repairs.VERSIONS


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
