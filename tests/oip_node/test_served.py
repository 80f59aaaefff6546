"""The default model behind MLServer, asked over REST and gRPC by clients that others wrote."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException

from roberta_sentiment.errors import LONGEST_SENTENCE
from tests import ROOT
from tests.oip_node.server import GOOD, Server

EXPECTED = [0.0083, 0.9917]
NAME = "sentiment"


@pytest.fixture(scope="module")
def stub(oip: Server) -> Iterator[GRPCInferenceServiceStub]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{oip.grpc}", options=options) as channel:
        yield GRPCInferenceServiceStub(channel)


def message(*tensors: Any, raw: list[bytes] | None = None, **more: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(
        model_name=NAME, inputs=tensors, raw_input_contents=raw or [], **more
    )


def tensor(datatype: str, shape: list[int], **contents: Any) -> Any:
    return pb.ModelInferRequest.InferInputTensor(
        name="x", datatype=datatype, shape=shape, contents=contents
    )


def refused(stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest) -> tuple[str, str]:
    """Name of the code, and the sentence."""
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request, timeout=60)
    return error.value.code().name, str(error.value.details())


def test_rest(oip: Server) -> None:
    """The README's answer."""
    body = oip.infer({"id": "42", "inputs": [GOOD]}).json()
    assert ("42", NAME) == (body["id"], body["model_name"])
    assert EXPECTED == [round(score, 4) for score in body["outputs"][0]["data"]]
    assert ["positive"] == body["outputs"][1]["data"]
    facts = body["parameters"]
    assert body["model_version"] == facts["model_version"]
    assert ("int8", "[7]", "[]") == tuple(facts[k] for k in ("precision", "tokens", "truncated"))


def test_grpc(oip: Server, stub: GRPCInferenceServiceStub) -> None:
    """Typed contents are answered with typed ones, and the same numbers as over REST."""
    text = b"This film is so good"
    answer = stub.ModelInfer(message(tensor("BYTES", [1, 1], bytes_contents=[text]), id="7"))
    body = oip.infer({"inputs": [GOOD]}).json()
    assert body["outputs"][0]["data"] == list(answer.outputs[0].contents.fp64_contents)
    assert [b"positive"] == list(answer.outputs[1].contents.bytes_contents)
    assert body["parameters"] == {k: v.string_param for k, v in answer.parameters.items()}
    assert ("7", NAME, body["model_version"]) == (
        answer.id, answer.model_name, answer.model_version
    )  # fmt: skip


def test_raw_contents(stub: GRPCInferenceServiceStub) -> None:
    """Raw contents are answered with raw ones."""
    text = b"This film is so good"
    raw = struct.pack("<I", len(text)) + text
    answer = stub.ModelInfer(message(tensor("BYTES", [1]), raw=[raw]))
    assert EXPECTED == [round(x, 4) for x in struct.unpack("<2d", answer.raw_output_contents[0])]


def test_metadata(oip: Server, stub: GRPCInferenceServiceStub) -> None:
    """Names, types, shapes and labels, the same over both."""
    body = requests.get(oip.url(f"/v2/models/{NAME}"), timeout=10).json()
    assert [("text", "BYTES", [-1])] == [tuple(t.values()) for t in body["inputs"]]
    assert [("probabilities", "FP64", [-1, 2]), ("label", "BYTES", [-1])] == [
        (t["name"], t["datatype"], t["shape"]) for t in body["outputs"]
    ]
    assert "negative, positive" == body["parameters"]["labels"]
    assert "negative, positive" == body["outputs"][0]["parameters"]["labels"]
    answer = stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME))
    assert body["versions"] == list(answer.versions)
    assert body["parameters"] == {k: v.string_param for k, v in answer.parameters.items()}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        (f"/v2/models/{NAME}/ready", "ready"),
    ],
)
def test_probes(oip: Server, path: str, key: str) -> None:
    """They have the protocol's body, which KServe's client reads."""
    answer = requests.get(oip.url(path), timeout=10)
    assert (200, {key: True}) == (answer.status_code, answer.json())


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "default"])
def test_tritonclient_http(oip: Server, binary: bool) -> None:
    """Triton's own client; its binary form, which is not read, is refused with the way out."""
    client = triton_http.InferenceServerClient(f"127.0.0.1:{oip.http}")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(NAME)
    assert NAME == client.get_model_metadata(NAME)["name"]
    assert [NAME] == [model["name"] for model in client.get_model_repository_index()]
    given = triton_http.InferInput("text", [2], "BYTES")
    given.set_data_from_numpy(np.array(["good", "bad"], dtype=object), binary_data=binary)
    if binary:
        with pytest.raises(InferenceServerException, match="binary_data=False"):
            client.infer(NAME, [given])
        return
    answer = client.infer(NAME, [given])
    assert (2, 2) == answer.as_numpy("probabilities").shape
    assert ["positive", "negative"] == answer.as_numpy("label").tolist()
    client.close()


def test_tritonclient_grpc(oip: Server) -> None:
    """It sends raw contents; token ids as numpy has them."""
    command = [sys.executable, "-m", "tests.oip_node.triton_client", str(oip.grpc), NAME]
    seen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert 0 == seen.returncode, seen.stderr
    expected = {"ready": [True] * 3, "name": NAME, "logits": ["float32", [2, 2]]}
    assert expected == json.loads(seen.stdout)


KSERVE = ROOT / ".venv-kserve" / "bin" / "python"


@pytest.mark.skipif(not KSERVE.exists(), reason="make .venv-kserve/ready installs KServe's client")
def test_kserve_client(oip: Server) -> None:
    """KServe's own client, over both."""
    script = ROOT / "tests" / "oip_node" / "kserve_client.py"
    command = [str(KSERVE), str(script), str(oip.http), str(oip.grpc), NAME]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert 0 == seen.returncode, seen.stderr
    expected = {"REST": [True] * 3, "gRPC": [True, True, True, False], "labels": ["positive"] * 2}
    assert expected == json.loads(seen.stdout.splitlines()[-1])


BODY = json.dumps({"inputs": [GOOD]}).encode()


GZIP = {"Content-Encoding": "gzip"}
LARGE = b" " * 17_000_000
BODIES: dict[str, tuple[int, str, bytes, dict[str, str]]] = {
    "half an object": (400, "not JSON", b"{", {}),
    "deep": (400, "not JSON", b"[" * 100_000, {}),
    "no inputs": (400, "inputs: field required", b"{}", {}),
    "datatype": (400, "inputs.0.datatype: input sh", BODY.replace(b"BYTES", b"TEXT"), {}),
    "no body": (400, "not JSON: EOF", b"", {}),
    "shape": (400, "has shape [2] but 1 values", BODY.replace(b"[1]", b"[2]"), {}),
    "no gzip": (400, "not in gzip", BODY, GZIP),
    "half a gzip": (400, "before its gzip", gzip.compress(BODY)[:-9], GZIP),
    "gzip bomb": (413, "(setting max_body_bytes)", gzip.compress(LARGE), GZIP),
    "large": (413, "(setting max_body_bytes)", LARGE, {}),
    "coding": (415, "the coding 'br'", BODY, {"Content-Encoding": "br"}),
    "type": (415, "'text/plain'; send JSON", BODY, {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize(("status", "sentence", "body", "headers"), BODIES.values(), ids=BODIES)
def test_refused_bodies(
    oip: Server, status: int, sentence: str, body: bytes, headers: dict[str, str]
) -> None:
    """A 4xx with one sentence, whatever is sent."""
    headers = {"Content-Type": "application/json", **headers}
    answer = requests.post(oip.url(f"/v2/models/{NAME}/infer"), body, headers=headers, timeout=60)
    assert status == answer.status_code
    assert ["error"] == list(answer.json())
    assert sentence in answer.json()["error"]
    assert LONGEST_SENTENCE >= len(answer.json()["error"])


def test_packed_body(oip: Server) -> None:
    """A body in gzip is read."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = requests.post(
        oip.url(f"/v2/models/{NAME}/infer"), gzip.compress(BODY), headers=headers, timeout=60
    )
    assert 200 == answer.status_code


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/other/infer", 404),
        ("POST", f"/v2/models/{NAME}/versions/9/infer", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", f"/v2/models/{'x' * 5000}", 404),
        ("POST", "/v2/repository/models/other/load", 404),
        ("GET", "/nowhere", 404),
        ("GET", f"/v2/models/{NAME}/infer", 405),
    ],
)
def test_other_paths(oip: Server, method: str, path: str, status: int) -> None:
    """They too are refused in the protocol's form."""
    json_body = {"inputs": [GOOD]} if method == "POST" else None
    answer = requests.request(method, oip.url(path), json=json_body, timeout=10)
    assert (status, ["error"]) == (answer.status_code, list(answer.json()))
    assert len(answer.text) < LONGEST_SENTENCE + 20


def test_readiness_over_grpc(stub: GRPCInferenceServiceStub) -> None:
    """A model that does not exist is not ready, where MLServer answers UNKNOWN."""
    assert stub.ModelReady(pb.ModelReadyRequest(name=NAME)).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="other")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name=NAME, version="9")).ready


def texts(*given: bytes) -> Any:
    return tensor("BYTES", [len(given)], bytes_contents=given)


def raw(datatype: str, shape: list[int], *contents: bytes) -> pb.ModelInferRequest:
    return message(tensor(datatype, shape), raw=list(contents))


BAD_TYPE = {"content_type": pb.InferParameter(int64_param=1)}
MESSAGES: dict[str, tuple[pb.ModelInferRequest, str, str]] = {
    "empty": (message(), "INVALID_ARGUMENT", "no inputs"),
    "no datatype": (message(tensor("", [1])), "INVALID_ARGUMENT", "datatype ''"),
    "half a length": (raw("BYTES", [1], b"\x09"), "INVALID_ARGUMENT", "do not fit"),
    "half a text": (raw("BYTES", [1], b"\x09\0\0\0a"), "INVALID_ARGUMENT", "do not fit"),
    "half a number": (raw("INT64", [1, 2], b"\x09"), "INVALID_ARGUMENT", "do not fit"),
    "raw of no type": (raw("WHAT", [1], b"\x09"), "INVALID_ARGUMENT", "do not fit"),
    "huge shape": (raw("INT64", [2**40, 2**40], b"\x09"), "INVALID_ARGUMENT", "do not fit"),
    "negative shape": (raw("INT64", [-3, 1], b"\x09"), "INVALID_ARGUMENT", "do not fit"),
    "two raw": (raw("BYTES", [1], b"", b""), "INVALID_ARGUMENT", "2 raw_input_contents for 1"),
    "ids": (message(tensor("BYTES", [1], int64_contents=[1])), "INVALID_ARGUMENT", "the number 1"),
    "latin 1": (message(texts(b"\xff")), "INVALID_ARGUMENT", "text 0 is not valid UTF-8"),
    "parameter": (message(texts(b"a"), parameters=BAD_TYPE), "INVALID_ARGUMENT", "content_type"),
    "many": (message(texts(*[b"a"] * 1025)), "RESOURCE_EXHAUSTED", "(setting max_texts)"),
    "model": (pb.ModelInferRequest(model_name="other"), "NOT_FOUND", "not found"),
}


@pytest.mark.parametrize(("request_", "code", "sentence"), MESSAGES.values(), ids=MESSAGES)
def test_grpc_refusals(
    stub: GRPCInferenceServiceStub, request_: pb.ModelInferRequest, code: str, sentence: str
) -> None:
    """The code that means the same as the HTTP status, and the sentence."""
    found, details = refused(stub, request_)
    assert code == found
    assert sentence in details


def test_large_messages(stub: GRPCInferenceServiceStub) -> None:
    """gRPC's own limit of 4 MB does not hold here; ours of characters does."""
    code, sentence = refused(stub, message(texts(b"good " * 1_000_000)))
    assert "RESOURCE_EXHAUSTED" == code
    assert "max_characters" in sentence


@pytest.mark.parametrize("id_", ["é✓", "a\r\nb: c", "x" * 5000, "\x00"], ids=repr)
def test_ids_of_any_text(oip: Server, stub: GRPCInferenceServiceStub, id_: str) -> None:
    """MLServer puts the id into a header; it comes back whole in the body."""
    answer = oip.infer({"id": id_, "inputs": [GOOD]})
    assert (200, id_) == (answer.status_code, answer.json()["id"])
    assert id_ == stub.ModelInfer(message(texts(b"a"), id=id_)).id


def test_streams_over_rest(oip: Server) -> None:
    """The answer is an event; an error is like any other, where MLServer breaks the connection."""
    path = "/v2/models/sentiment/infer_stream"
    good = oip.infer({"inputs": [GOOD]}, path)
    assert "text/event-stream" in good.headers["Content-Type"]
    assert ["positive"] == json.loads(good.text.removeprefix("data: "))["outputs"][1]["data"]
    bad = oip.infer({"inputs": []}, path)
    assert 400 == bad.status_code
    assert "no inputs" in bad.json()["error"]
    assert 404 == oip.infer({"inputs": [GOOD]}, path.replace("sentiment", "other")).status_code


def test_callers_leave_no_traces_in_the_log(oip: Server, stub: GRPCInferenceServiceStub) -> None:
    """A refused request logs no stack trace."""
    refused(stub, raw("BYTES", [1], b"\x09"))
    assert 400 == oip.infer({"inputs": []}).status_code
    assert "Traceback" not in oip.log()


def test_callers_make_no_series(oip: Server) -> None:
    """The name of a model that does not exist is in no metric."""
    oip.infer({"inputs": [GOOD]}, "/v2/models/invented/infer")
    page = requests.get(f"http://127.0.0.1:{oip.metrics}/metrics", timeout=10).text
    assert "invented" not in page


def test_counts(oip: Server) -> None:
    """Requests are counted once each, under the names of the Seldon door."""
    answered, refused_ = "sentiment_answered_requests_total", "sentiment_refused_requests_total"
    before = oip.counter(answered), oip.counter(refused_), oip.counter(refused_, reason="bad_text")
    oip.infer({"inputs": [GOOD]})
    oip.infer({"inputs": [{**GOOD, "data": [" "]}]})
    oip.infer({})
    after = oip.counter(answered), oip.counter(refused_), oip.counter(refused_, reason="bad_text")
    assert (1, 2, 1) == tuple(b - a for a, b in zip(before, after, strict=True))
    assert 0 < oip.counter("sentiment_infer_seconds_count", model_name=NAME, method="predict")
