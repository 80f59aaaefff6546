"""Nonsense, floods and callers that leave."""

from __future__ import annotations

import copy
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from roberta_sentiment.errors import LONGEST_SENTENCE
from tests.oip_node.server import GOOD, Server

REST_REQUESTS, GRPC_REQUESTS = 1200, 800
JUNK: list[Any] = [
    None, True, -1, 0, 2**63, 2**200, 1.5, "", "a", "\u0000", "🎬", [], [[]], [None], {}, {"a": 1},
    [["a"], "b"], "INT64", "BYTES", "FP32", [1, 2], [-1], [2**40], ["a", 1], "x" * 5000,
]  # fmt: skip
BODY: dict[str, Any] = {
    "id": "1",
    "parameters": {"truncation": "end", "content_type": "str"},
    "inputs": [{**GOOD, "parameters": {"content_type": "str"}}],
    "outputs": [{"name": "label", "parameters": {"binary_data": False}}],
}


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A server in whose queue only two requests may wait."""
    with Server(SENTIMENT_MAX_QUEUE="2", SENTIMENT_THREADS="1").start() as running:
        yield running


def slots(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    found = [(value, key) for key in keys]
    for key in list(keys):
        found += slots(value[key])
    return found


def mutated(chance: random.Random) -> bytes:
    """A body with one to three things wrong; some only in its bytes."""
    body = json.loads(json.dumps(BODY))
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice(slots(body) or [({}, "a")])
        action = chance.randrange(4)
        if action == 0:
            del container[key]
        elif action == 1 and isinstance(container, dict):
            container[str(chance.choice(JUNK))] = copy.deepcopy(chance.choice(JUNK))
        else:
            container[key] = copy.deepcopy(chance.choice(JUNK))
    raw = bytearray(json.dumps(body).encode())
    if chance.random() < 0.2:
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(raw[: chance.randrange(len(raw))] if chance.random() < 0.1 else raw)


def test_nonsense_over_rest(oip: Server) -> None:
    """Each request is answered, or refused with 4xx and one short sentence."""
    chance = random.Random(1)
    bodies = [mutated(chance) for _ in range(REST_REQUESTS)]
    headers = {"Content-Type": "application/json"}
    local = threading.local()

    def ask(body: bytes) -> tuple[int, Any]:
        session = local.__dict__.setdefault("session", requests.Session())
        url = oip.url("/v2/models/sentiment/infer")
        answer = session.post(url, data=body, headers=headers, timeout=120)
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(ask, bodies))
    for body, (status, answer) in zip(bodies, outcomes, strict=True):
        assert status == 200 or 400 <= status < 500, (status, body, answer)
        if status != 200:
            assert ["error"] == list(answer), body
            assert 10 < len(answer["error"]) <= LONGEST_SENTENCE, (body, answer)
    assert {200, 400} <= {status for status, _ in outcomes}
    assert 200 == oip.infer({"inputs": [GOOD]}).status_code


def random_message(chance: random.Random) -> pb.ModelInferRequest:
    """A message whose tensors rarely fit together."""
    message = pb.ModelInferRequest(model_name="sentiment", id=chance.choice(["", "é\n", "x"]))
    for _ in range(chance.randint(0, 2)):
        tensor = message.inputs.add(
            name=chance.choice(["x", "", "attention_mask"]),
            datatype=chance.choice(["BYTES", "INT64", "FP32", "FP16", "BOOL", "", "x" * 500]),
            shape=[chance.choice([0, 1, 2, -1, 2**62]) for _ in range(chance.randint(0, 3))],
        )
        if chance.random() < 0.4:
            tensor.contents.bytes_contents.extend([chance.randbytes(3), b"good"])
        if chance.random() < 0.3:
            tensor.contents.int64_contents.extend([5, -(2**63)])
        if chance.random() < 0.2:
            tensor.contents.fp32_contents.append(float("nan"))
    for _ in range(chance.randint(0, 2)):
        raw = [b"", chance.randbytes(8), struct.pack("<I", 2**31) + b"a", b"\4\0\0\0good"]
        message.raw_input_contents.append(chance.choice(raw))
    if chance.random() < 0.3:
        name = chance.choice(["top_k", "truncation", "output", "content_type", "x", "headers"])
        message.parameters[name].int64_param = chance.choice([0, 1, -(2**63)])
    if chance.random() < 0.2:
        message.outputs.add(name=chance.choice(["label", "logits", "x" * 500]))
    return message


def damaged(message: bytes, chance: random.Random) -> bytes:
    """Every other message, with one byte changed."""
    raw = bytearray(message)
    if raw and chance.random() < 0.5:
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(raw)


def test_nonsense_over_grpc(oip: Server) -> None:
    """Never INTERNAL or UNKNOWN; the sentences are as short."""
    chance = random.Random(2)
    codes = set()
    with grpc.insecure_channel(f"127.0.0.1:{oip.grpc}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        for _ in range(GRPC_REQUESTS):
            message = damaged(random_message(chance).SerializeToString(), chance)
            try:
                infer(message, timeout=120)
            except grpc.RpcError as error:
                codes.add(error.code().name)
                known = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "NOT_FOUND")
                assert error.code().name in known, (message, error.details())
                assert 10 < len(str(error.details())) <= LONGEST_SENTENCE, error.details()
        for message in (b"\xff", b"\x0a\x05abc", b"\x0a\x01\xff"):
            with pytest.raises(grpc.RpcError, match="the message can't be read"):
                infer(message, timeout=120)
    assert "INVALID_ARGUMENT" in codes


LONG_TEXTS = ["good bad film " * 40] * 16
LONG = {**GOOD, "shape": [16], "data": LONG_TEXTS}


def test_overload(small: Server) -> None:
    """More than may wait is refused, over REST with Retry-After; the others are answered."""

    def ask(_: int) -> requests.Response:
        return small.infer({"inputs": [LONG]})

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(ask, i) for i in range(6)]
        answers = [future.result() for future in running]
    statuses = sorted(answer.status_code for answer in answers)
    assert {200, 503} == set(statuses)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert "(setting max_queue" in refused.json()["error"]
    assert 1 <= int(refused.headers["Retry-After"])
    assert small.counter("sentiment_refused_requests_total", reason="overloaded") >= 1


def test_overload_over_grpc(small: Server) -> None:
    """RESOURCE_EXHAUSTED with the same sentence, and when to try again as over REST."""
    text = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype="BYTES", shape=[16],
        contents={"bytes_contents": [text.encode() for text in LONG_TEXTS]},
    )  # fmt: skip
    message = pb.ModelInferRequest(model_name="sentiment", inputs=[text])
    with grpc.insecure_channel(f"127.0.0.1:{small.grpc}") as channel:
        calls = [GRPCInferenceServiceStub(channel).ModelInfer.future(message) for _ in range(6)]
        by_code = {call.code().name: call for call in calls}
    assert {"OK", "RESOURCE_EXHAUSTED"} == set(by_code)
    refused = by_code["RESOURCE_EXHAUSTED"]
    assert "(setting max_queue" in str(refused.details())
    hint = {key: int(str(value)) for key, value in refused.trailing_metadata() or ()}
    assert 1 <= hint["retry-after"]
    assert 1000 * hint["retry-after"] == hint["grpc-retry-pushback-ms"]


def dropped(server: Server) -> float:
    return server.counter("sentiment_dropped_requests_total")


def test_a_rest_caller_that_leaves(small: Server) -> None:
    """What waits for it is dropped, and counted."""
    before = dropped(small)
    body = json.dumps({"inputs": [{**LONG, "shape": [256], "data": LONG_TEXTS * 16}]}).encode()
    with socket.create_connection(("127.0.0.1", small.http)) as connection:
        head = f"POST /v2/models/sentiment/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
        small.wait_for(lambda: is_busy(small), "a run")
    small.wait_for(lambda: dropped(small) == before + 1, "the end of its request")


def is_busy(server: Server) -> bool:
    """Whether a request of one text takes more than the time of a queue without anyone."""
    start = time.monotonic()
    server.infer({"inputs": [GOOD]})
    return time.monotonic() - start > 0.02


def test_a_grpc_caller_that_leaves(small: Server) -> None:
    """The same for a cancelled call."""
    before = dropped(small)
    text = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype="BYTES", shape=[256],
        contents={"bytes_contents": [text.encode() for text in LONG_TEXTS * 16]},
    )  # fmt: skip
    with grpc.insecure_channel(f"127.0.0.1:{small.grpc}") as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(
            pb.ModelInferRequest(model_name="sentiment", inputs=[text])
        )
        small.wait_for(lambda: is_busy(small), "a run")
        call.cancel()
        small.wait_for(lambda: dropped(small) == before + 1, "the end of its request")


def test_a_deadline_of_the_caller(small: Server) -> None:
    """Triton's parameter timeout, in microseconds, ends the request with 504."""
    answer = small.infer({"inputs": [LONG], "parameters": {"timeout": 1000}})
    assert 504 == answer.status_code
    assert "deadline" in answer.json()["error"]


def test_probes_are_answered_under_load(oip: Server) -> None:
    """The event loop is never held by a run of the model: probes pass while others wait for it."""
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            oip.infer({"inputs": [LONG]})

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(load) for _ in range(4)]
        try:
            slowest_run = oip.infer({"inputs": [LONG]}).elapsed.total_seconds()
            probes = [
                requests.get(oip.url("/v2/health/live"), timeout=60).elapsed.total_seconds()
                for _ in range(20)
            ]
        finally:
            over.set()
        for future in running:
            future.result()
    assert sorted(probes)[10] < slowest_run / 5, (sorted(probes), slowest_run)
