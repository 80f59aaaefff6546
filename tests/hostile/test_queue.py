"""A full queue, and a request that breaks: a good client is still answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from tests import toy
from tests.hostile.good_client import GoodClient
from tests.served.test_lifecycle import grpc_answers
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

LONG = "\u4e2d\x1b\n'" * 500_000


def windows(text: str, count: int) -> dict[str, Any]:
    return {"jsonData": {"texts": [text] * count, "options": {"truncation": "windows"}}}


FLOODS = [
    pytest.param(windows("good " * 20_000, 100), (200,), id="texts of many windows"),
    pytest.param(windows("good " * 300_000, 1), (413,), id="a text of too many windows"),
    pytest.param({"jsonData": ["good " * 400] * 1024}, (200,), id="1,024 texts"),
]


@pytest.mark.parametrize(("flood", "answers"), FLOODS)
def test_a_small_caller_is_answered_beside_a_flood(
    target: Service, good: GoodClient, flood: Any, answers: tuple[int, ...]
) -> None:
    """Four callers send as much as the limits allow, again and again; they may be refused."""
    over, codes = threading.Event(), set()

    def hostile() -> None:
        while not over.is_set():
            codes.add(target.post(flood).status_code)

    threads = [threading.Thread(target=hostile) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        good.wait_for_answers()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    good.check()
    assert codes <= {*answers, 413, 503}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"jsonData": {LONG: 1, "texts": "a"}}, id="field"),
        pytest.param({"jsonData": {"texts": "a", "options": {LONG: 1}}}, id="option"),
        pytest.param({"jsonData": {"texts": "a", "options": {"output": LONG}}}, id="output"),
        pytest.param({"data": {"ndarray": [[1.0], [LONG]]}}, id="token id"),
    ],
)
def test_a_long_name_comes_back_short(target: Service, message: Any) -> None:
    """Over both protocols; gRPC has a limit of 8 kB for it."""
    answer = target.post(message)
    assert 400 == answer.status_code
    assert len(answer.json()["status"]["info"]) <= 300
    with pytest.raises(grpc.RpcError) as caught:
        target.predict(to_proto(message))
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert answer.json()["status"]["info"] == caught.value.details()


@pytest.fixture
def panicking(tmp_path: Path) -> Iterator[Service]:
    """A service whose tokenizer panics on a text of many a's."""
    directory = toy.write(tmp_path / "toy", positions=514)
    path = directory / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    splitting = pre_tokenizers.Split(Regex(r"(?:a|aa)+$"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([splitting, byte_level])
    tokenizer.save(str(path))
    with Service(MODEL_URI=str(directory)).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        yield service


def test_a_panic_in_the_tokenizer_costs_its_request_alone(panicking: Service) -> None:
    """A worker that ends with it loses the requests of all others."""
    before = sorted(panicking.processes())
    with GoodClient(panicking) as client:
        for _ in range(3):
            answer = panicking.post({"strData": "a" * 60 + "b"})
            assert (500, "INFERENCE_FAILED") == (
                answer.status_code,
                json.loads(answer.text)["status"]["reason"],
            )
        with pytest.raises(grpc.RpcError) as caught:
            panicking.predict(to_proto({"strData": "a" * 60 + "b"}))
        assert grpc.StatusCode.INTERNAL is caught.value.code()
        client.wait_for_answers()
    client.check()
    assert before == sorted(panicking.processes())
