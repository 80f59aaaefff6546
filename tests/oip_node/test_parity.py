"""The two doors give the same numbers and the same sentences.

It runs where Seldon's wrapper is installed, and starts MLServer from its own environment.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

pytest.importorskip("seldon_core", reason="make test runs these, beside Seldon's wrapper")

from tests import ROOT
from tests.oip_node.server import REPOSITORY, Server
from tests.service import Service
from tests.wire import to_proto

ENVIRONMENT = ROOT / ".venv-oip"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (ENVIRONMENT / "server").exists(),
        reason="MLServer's environment is missing; make test-oip makes it",
    ),
]
TEXTS, REFUSALS, BATCH = 500, 200, 25
WORDS = ["good", "bad", "film", "the", "not", "🎬", "naïve", "很好", "plot,", "<s>", "'\"\\"]


def texts(count: int) -> list[str]:
    """Texts of 1 to 400 words, most of them short; the longest are truncated."""
    chance = random.Random(20)
    lengths = [400 if i % 50 == 49 else chance.choice((1, 2, 4, 8, 16)) for i in range(count)]
    return [" ".join(chance.choices(WORDS, k=length)) + "." for length in lengths]


@pytest.fixture(scope="module")
def oip_settings() -> dict[str, str]:
    return {"SENTIMENT_MAX_TEXTS": "30", "SENTIMENT_MAX_CHARACTERS": "100000"}


@pytest.fixture(scope="module")
def seldon(oip_settings: dict[str, str]) -> Iterator[Service]:
    with Service(**oip_settings).start() as running:
        yield running


@pytest.fixture(scope="module")
def v2(oip_settings: dict[str, str]) -> Iterator[Server]:
    command = ENVIRONMENT / "bin" / "mlserver"
    with Server(REPOSITORY, command, **oip_settings).start() as running:
        yield running


def messages() -> ModuleType:
    """MLServer's protobuf messages, read from its environment."""
    (path,) = ENVIRONMENT.glob("lib/python*/site-packages/mlserver/grpc/dataplane_pb2.py")
    spec = importlib.util.spec_from_file_location("dataplane_pb2", Path(path))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class V2Grpc:
    """A client of the V2 service without MLServer's package."""

    def __init__(self, port: int) -> None:
        self._pb = messages()
        self._infer = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=self._pb.ModelInferRequest.SerializeToString,
            response_deserializer=self._pb.ModelInferResponse.FromString,
        )

    def __call__(self, body: dict[str, Any]) -> Any:
        """Send a REST body over gRPC."""
        request = self._pb.ModelInferRequest(model_name="sentiment")
        for name, value in body.get("parameters", {}).items():
            field = "string_param" if isinstance(value, str) else "int64_param"
            setattr(request.parameters[name], field, value)
        for given in body["inputs"]:
            tensor = request.inputs.add(
                name=given["name"], datatype=given["datatype"], shape=given["shape"]
            )
            if given["datatype"] == "BYTES":
                encoded = [text.encode("utf-8", "surrogatepass") for text in given["data"]]
                tensor.contents.bytes_contents.extend(encoded)
            else:
                tensor.contents.int64_contents.extend(given["data"])
        return self._infer(request, timeout=120)


def v2_texts(given: list[str], **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(given)], "data": given}
    return {"inputs": [tensor], "parameters": parameters}


def v2_ids(rows: list[list[int]]) -> dict[str, Any]:
    flat = [token for row in rows for token in row]
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "ids", "datatype": "INT64", "shape": shape, "data": flat}]}


def test_numbers(seldon: Service, v2: Server) -> None:
    """500 texts in requests of 25, to 1e-9, and the same tokens and truncated texts."""
    ask_grpc = V2Grpc(v2.grpc)
    given = texts(TEXTS)
    for start in range(0, TEXTS, BATCH):
        batch = given[start : start + BATCH]
        seldon_rest = seldon.post({"data": {"ndarray": batch}}).json()
        answer = seldon.predict(to_proto({"data": {"ndarray": batch}}))
        rest, over_grpc = v2.infer(v2_texts(batch)).json(), ask_grpc(v2_texts(batch))
        numbers = [
            [score for row in seldon_rest["data"]["ndarray"] for score in row],
            [v.number_value for row in answer.data.ndarray.values for v in row.list_value.values],
            rest["outputs"][0]["data"],
            list(over_grpc.outputs[0].contents.fp64_contents),
        ]
        for other in numbers[1:]:
            assert numbers[0] == pytest.approx(other, abs=1e-9, rel=0)
        tags = {name: str(value) for name, value in seldon_rest["meta"]["tags"].items()}
        assert tags == rest["parameters"]
        assert tags == {name: p.string_param for name, p in over_grpc.parameters.items()}


def refusals() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of a Seldon body and a V2 body that mean the same and are refused."""
    chance = random.Random(21)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    while len(pairs) < REFUSALS:
        n = chance.randint(1, 20)
        good = texts(n)
        kind = len(pairs) % 7
        if kind == 0:  # nothing to score at some position
            good[chance.randrange(n)] = chance.choice(["", " ", "\n\t", "\u2003"])
        elif kind == 1:
            good += ["a"] * chance.randint(30, 40)
        elif kind == 2:
            good.insert(chance.randrange(n), "good " * 20_001)
        if kind < 3:
            pairs.append(({"data": {"ndarray": good}}, v2_texts(good)))
            continue
        rows = [[0, *(chance.randint(5, 9) for _ in range(6)), 2] for _ in range(n)]
        if kind == 3:
            rows[chance.randrange(n)][chance.randrange(8)] = chance.choice([-1, 28_000, 10**12])
        elif kind == 4:
            rows[chance.randrange(n)] = [1] * 8
        elif kind == 5:
            rows = [[5] * 513] * n
        if kind < 6:
            pairs.append(({"data": {"ndarray": rows}}, v2_ids(rows)))
            continue
        name, value = chance.choice(
            [("truncation", "no"), ("topk", 1), ("top_k", 0), ("top_k", "3"), ("output", "scores")]
        )
        options = {"texts": good, "options": {name: value}}
        pairs.append(({"jsonData": options}, v2_texts(good, **{name: value})))
    return pairs


def grpc_outcome(call: Callable[[], Any]) -> tuple[str, str]:
    """Name of the code, and the sentence of an error."""
    try:
        call()
    except grpc.RpcError as error:
        # Seldon's message carries numbers of jsonData as floats.
        return error.code().name, str(error.details()).replace(".0;", ";")
    return "OK", ""


def test_refusals(seldon: Service, v2: Server) -> None:
    """200 bad requests: the same status, code and sentence by both doors."""
    ask_grpc = V2Grpc(v2.grpc)

    def outcome(pair: tuple[dict[str, Any], dict[str, Any]]) -> list[Any]:
        seldon_body, v2_body = pair
        ours, theirs = seldon.post(seldon_body), v2.infer(v2_body)
        return [
            (ours.status_code, ours.json().get("status", {}).get("info")),
            (theirs.status_code, theirs.json().get("error")),
            grpc_outcome(lambda: seldon.predict(to_proto(seldon_body))),
            grpc_outcome(lambda: ask_grpc(v2_body)),
        ]

    pairs = refusals()
    with ThreadPoolExecutor(4) as pool:
        for pair, (ours, theirs, by_seldon, by_v2) in zip(
            pairs, pool.map(outcome, pairs), strict=True
        ):
            assert ours == theirs, pair
            assert by_seldon == by_v2, pair
            assert 400 <= ours[0] < 500, pair
            assert "OK" != by_seldon[0], pair
