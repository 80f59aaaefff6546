"""Each setting, changed by a graph parameter of deployment.yaml, seen in the running process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from roberta_sentiment.container import available_cpus, serving_cpus
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from scripts.local_service import ServerError
from tests import toy
from tests.manifests import schema
from tests.manifests.document import Fields
from tests.manifests.mistakes import GRAPH, change
from tests.manifests.rules import broken
from tests.rehearsal.cluster import containers, production, service_of
from tests.served.test_lifecycle import listening_on
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

VALUES = {
    "model_name": "renamed",
    "label_map": "bad=negative",
    "truncation": "windows",
    "max_tokens": "16",
    "window_overlap": "4",
    "max_texts": "3",
    "max_characters": "300",
    "max_body_bytes": "4096",
    "batch_tokens": "16",
    "threads": str(3 * available_cpus() + 100),
}
"""Values that can all be seen in one process."""

LIMITS = {
    "device_memory": "1000000000",
    "head": "sigmoid",
    "special_tokens": "as_text",
    "max_request_tokens": "60",
    "max_windows": "3",
    "max_connections": "10",
    "max_buffered_bytes": "1048576",
    "arrival_timeout": "2",
    "cors_origins": "https://pages.example",
}
"""Values that would get into the way of the others, in a second process."""
_WINDOWS = {"truncation": "windows", "max_tokens": "16", "window_overlap": "4"}

CALLERS = 6
LONG = "It's neither funny nor clever, and it never ends. " * 60
MANY = {"data": {"ndarray": [LONG] * 8}}
"""A request that keeps the model busy while others arrive."""


def manifest_with(**values: str) -> Fields:
    """deployment.yaml with other parameters; it keeps schema and rules.

    The annotation for the size of a gRPC message goes with the setting.
    """
    manifest = production()
    kinds = {field.name: field.type for field in dataclasses.fields(Settings)}
    parameters = [
        {"name": name, "type": "INT" if kinds[name] == "int" else "STRING", "value": value}
        for name, value in values.items()
    ]
    change(manifest, f"{GRAPH}.parameters", parameters)
    size = values.get("max_body_bytes", str(Settings().max_body_bytes))
    change(manifest, "spec.annotations.{seldon.io/grpc-max-message-size}", size)
    assert {} == broken(manifest)
    assert not schema.PATH.is_file() or [] == schema.violations(manifest)
    return manifest


def started(manifest: Fields) -> Service:
    (container,) = containers(manifest)
    return service_of(container).start()


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(tmp_path_factory.mktemp("toy") / "toy", positions=514)


@pytest.fixture(scope="module")
def changed(toy_model: Path) -> Iterator[Service]:
    """One process with a parameter for every setting that does not need a process of its own."""
    with started(manifest_with(model_uri=str(toy_model), **VALUES)) as running:
        yield running


@pytest.fixture(scope="module")
def limited(toy_model: Path) -> Iterator[Service]:
    """The second process."""
    with started(manifest_with(model_uri=str(toy_model), **_WINDOWS, **LIMITS)) as running:
        yield running


def words(n: int) -> str:
    """A text of n tokens, special tokens not counted."""
    return " ".join(["film"] * n)


def grown(service: Service, counter: str, message: Fields) -> float:
    """By how much a counter grows with a request."""
    before = service.counter(counter)
    assert 200 == service.post(message).status_code
    return service.counter(counter) - before


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["status"]["info"]


def sees_model_uri(service: Service, toy_model: Path) -> None:
    custom = requests.get(service.url("/metadata"), timeout=10).json()["custom"]
    assert ("model_uri", open_artifact(toy_model).sha256) == (custom["source"], custom["sha256"])


def sees_model_name(service: Service, _: Path) -> None:
    tags = service.post({"strData": "good"}).json()["meta"]["tags"]
    assert "renamed" == tags["model_name"]


def sees_label_map(service: Service, _: Path) -> None:
    """A truth by another name counts as the label that it stands for."""
    url, answer = service.url("/api/v1.0/feedback"), service.post({"strData": "good"}).json()
    truths = {word: {"data": {"ndarray": [word]}} for word in ("bad", "poor")}
    found = {
        word: requests.post(url, json={"response": answer, "truth": truth}, timeout=20).status_code
        for word, truth in truths.items()
    }
    assert {"bad": 200, "poor": 400} == found


def sees_truncation(service: Service, _: Path) -> None:
    """What comes late in a text longer than the model takes still counts."""
    answer = service.post({"data": {"ndarray": [f"{words(30)} bad"]}}).json()
    custom = requests.get(service.url("/metadata"), timeout=10).json()["custom"]
    ((negative, positive),) = answer["data"]["ndarray"]
    assert negative > positive
    assert [] == answer["meta"]["tags"]["truncated"]
    assert answer["meta"]["tags"]["tokens"][0] > int(custom["max_tokens"])


def sees_max_tokens(service: Service, _: Path) -> None:
    texts = [words(14), words(15)]
    message = {"jsonData": {"texts": texts, "options": {"truncation": "end"}}}
    assert [1] == service.post(message).json()["meta"]["tags"]["truncated"]


def sees_window_overlap(service: Service, _: Path) -> None:
    """14 + 10 + 10 tokens are three windows of 16, special tokens included."""
    message = {"data": {"ndarray": [words(34)]}}
    assert 3 * 16 == grown(service, "sentiment_tokens_total", message)


def sees_max_texts(service: Service, _: Path) -> None:
    assert 200 == service.post({"data": {"ndarray": ["good"] * 3}}).status_code
    status, info = refusal(service.post({"data": {"ndarray": ["good"] * 4}}))
    assert 413 == status
    assert "max_texts" in info


def sees_max_characters(service: Service, _: Path) -> None:
    assert 200 == service.post({"strData": "a" * 300}).status_code
    status, info = refusal(service.post({"strData": "a" * 301}))
    assert 413 == status
    assert "max_characters" in info


def sees_max_body_bytes(service: Service, _: Path) -> None:
    """On both protocols."""
    large = {"strData": "a" * 5000}
    status, info = refusal(service.post(large))
    assert 413 == status
    assert "max_body_bytes" in info
    with pytest.raises(grpc.RpcError) as caught:
        service.predict(to_proto(large))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()
    assert "4096" in str(caught.value.details())


def sees_batch_tokens(service: Service, _: Path) -> None:
    """No two texts of ten tokens fit into 16; without the limit two runs side by side would do."""
    message = {"data": {"ndarray": [words(8)] * 3}}
    assert 3 == grown(service, "sentiment_batches_total", message)


def sees_device(_: Service, toy_model: Path) -> None:
    """A GPU that is not there ends the start, whatever is."""
    with (
        pytest.raises(ServerError, match=r"cannot start: (ONNX Runtime|no NVIDIA|device is)"),
        started(manifest_with(model_uri=str(toy_model), device="cuda:99")),
    ):
        pass


def sees_precision(_: Service, toy_model: Path) -> None:
    """Only a GPU computes in another precision than the model is stored in."""
    with (
        pytest.raises(ServerError, match=r"cannot start: (ONNX Runtime|no NVIDIA)"),
        started(manifest_with(model_uri=str(toy_model), precision="fp16")),
    ):
        pass


def sees_device_memory(service: Service, _: Path) -> None:
    """Nothing on a CPU takes it; tests/roberta_sentiment/run/test_gpu.py has what a GPU does."""
    custom = requests.get(service.url("/metadata"), timeout=10).json()["custom"]
    assert LIMITS["device_memory"] == custom["device_memory"]


def sees_threads(service: Service, _: Path) -> None:
    """The pool of the model has all but that of the calling thread."""
    custom = requests.get(service.url("/metadata"), timeout=10).json()["custom"]
    assert VALUES["threads"] == custom["threads"]
    (worker,) = listening_on(service.grpc)
    assert len(threads_of(worker)) >= int(VALUES["threads"])


def sees_max_queue(_: Service, __: Path) -> None:
    """One runs, one waits, and the others are refused at once."""
    with started(manifest_with(max_queue="1")) as service:
        assert any("(setting max_queue)" in info for info in refused_under_load(service))


def sees_max_queue_tokens(_: Service, __: Path) -> None:
    with started(manifest_with(max_queue_tokens="1000")) as service:
        assert any("(setting max_queue_tokens)" in info for info in refused_under_load(service))


def sees_exclusive_cpus(unchanged: Service, _: Path) -> None:
    """Each protocol has a CPU for its requests; the threads of the model go where they like."""
    if serving_cpus(exclusive=True) is None:
        pytest.skip("this machine has one CPU, or shares its CPUs by a quota")
    everywhere = os.sched_getaffinity(0)
    assert [everywhere] * 2 == [os.sched_getaffinity(worker) for worker in workers(unchanged)]
    with started(manifest_with(exclusive_cpus="true")) as service:
        assert 200 == service.post({"strData": "good"}).status_code
        service.predict(to_proto({"strData": "good"}))
        rest, grpc_worker = workers(service)
        assert 2 == len(os.sched_getaffinity(rest) | os.sched_getaffinity(grpc_worker))
        for worker in (rest, grpc_worker):
            found = [os.sched_getaffinity(thread) for thread in threads_of(worker)]
            assert found.count(os.sched_getaffinity(worker)) > 1
            assert everywhere in found


def sees_head(service: Service, _: Path) -> None:
    """Scores of labels that stand for themselves need not sum to 1."""
    answer = service.post({"data": {"ndarray": ["good"]}}).json()
    ((negative, positive),) = answer["data"]["ndarray"]
    assert (0.5, True) == (negative, positive > 0.7)


def sees_special_tokens(service: Service, _: Path) -> None:
    """Its four letters and signs are tokens of their own."""
    answer = service.post({"strData": "</s>"}).json()
    assert 2 + len("</s>") == answer["meta"]["tags"]["tokens"][0]


def sees_max_request_tokens(service: Service, _: Path) -> None:
    assert 200 == service.post({"data": {"ndarray": [words(14)] * 3}}).status_code
    status, info = refusal(service.post({"data": {"ndarray": [words(14)] * 4}}))
    assert 413 == status
    assert "max_request_tokens" in info


def sees_max_windows(service: Service, _: Path) -> None:
    assert 200 == service.post({"strData": words(34)}).status_code
    status, info = refusal(service.post({"strData": words(35)}))
    assert 413 == status
    assert "max_windows" in info


def sees_request_timeout(_: Service, __: Path) -> None:
    """What takes longer is not computed to its end."""
    many = {"data": {"ndarray": [LONG] * 600}}
    with started(manifest_with(request_timeout="1", max_texts="1024")) as service:
        status, info = refusal(service.post(many))
        assert 503 == status
        assert "request_timeout" in info


def sees_max_connections(service: Service, _: Path) -> None:
    """One more takes the place of an idle one, which is closed."""
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connected(service)) for _ in range(15)]
        closed = select.select(connections, [], [], 10)[0]
        assert [b""] == [closed[0].recv(1)]


def sees_max_buffered_bytes(service: Service, _: Path) -> None:
    """A body that has not arrived whole makes room."""
    answer = half_sent(service, 3_000_000, b"x" * 2_000_000)
    assert b" 503 " in answer
    assert b"max_buffered_bytes" in answer


def sees_arrival_timeout(service: Service, _: Path) -> None:
    answer = half_sent(service, 1000, b"x")
    assert b" 408 " in answer
    assert b"arrival_timeout" in answer


def sees_cors_origins(service: Service, _: Path) -> None:
    origin = LIMITS["cors_origins"]
    answer = requests.get(service.url("/health/ping"), headers={"Origin": origin}, timeout=10)
    assert origin == answer.headers["Access-Control-Allow-Origin"]


def connected(service: Service) -> socket.socket:
    return socket.create_connection(("localhost", service.http), timeout=10)


def half_sent(service: Service, length: int, body: bytes) -> bytes:
    """What is answered to a request of which only a part comes."""
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(head.encode() + body)
        return connection.makefile("rb").read()


def workers(service: Service) -> list[int]:
    """Pids of the process that serves REST, and of that which serves gRPC.

    Of the two that listen for REST, gunicorn's arbiter has one thread.
    """
    ports = service.http, service.grpc
    return [max(listening_on(port), key=lambda pid: len(threads_of(pid))) for port in ports]


def threads_of(process: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]


def refused_under_load(service: Service) -> list[str]:
    """Why requests that came together were refused."""
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(service.post, [MANY] * CALLERS))
    assert {200, 503} == {answer.status_code for answer in answers}
    return [refusal(answer)[1] for answer in answers if answer.status_code == 503]


CHECKS: dict[str, Callable[[Service, Path], None]] = {
    name.removeprefix("sees_"): check
    for name, check in list(globals().items())
    if name.startswith("sees_")
}


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(Settings)])
def test_a_graph_parameter_takes_effect(
    setting: str, toy_model: Path, request: pytest.FixtureRequest
) -> None:
    """The README promises that every setting can stand in the manifest."""
    fixture = "limited" if setting in LIMITS else "changed"
    CHECKS[setting](request.getfixturevalue(fixture), toy_model)


def test_the_defaults_would_not_pass(service: Service, toy_model: Path) -> None:
    """Each check above fails on a node without the parameter, so it sees something."""
    passed: list[Any] = []
    for name in ("model_uri", *VALUES, *LIMITS):
        if name == "arrival_timeout":
            continue  # its default is longer than a test should wait
        try:
            CHECKS[name](service, toy_model)
        except (AssertionError, KeyError, IndexError, OSError, pytest.fail.Exception):
            continue
        passed.append(name)
    assert [] == passed
