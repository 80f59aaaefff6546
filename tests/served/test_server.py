"""The real microservice over REST and gRPC: what a caller sees."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from seldon_core.proto import prediction_pb2
from seldon_core.seldon_client import SeldonClient

from roberta_sentiment.classifier import Classifier
from scripts.serve import image_environment
from tests.seldon_node.test_payload import BAD, json_values
from tests.service import Service
from tests.wire import to_proto

TEXTS = ["This film is so good", "This film is so bad"]
GOOD_FIRST = {"data": {"ndarray": TEXTS}}


def rows_of(message: dict[str, Any]) -> list[list[float]]:
    """The n x 2 probabilities of an answer of any kind."""
    if "jsonData" in message:
        return [
            [p["scores"]["negative"], p["scores"]["positive"]]
            for p in message["jsonData"]["predictions"]
        ]
    data = message["data"]
    if "tensor" in data:
        rows: list[list[float]] = np.reshape(
            data["tensor"]["values"], [int(n) for n in data["tensor"]["shape"]]
        ).tolist()
        return rows
    return list(data["ndarray"])


def ask_grpc(service: Service, message: dict[str, Any]) -> dict[str, Any]:
    answer = service.predict(to_proto(message))
    return json_format.MessageToDict(answer)


KINDS: dict[str, dict[str, Any]] = {
    "flat ndarray": {"data": {"ndarray": TEXTS}},
    "n x 1 ndarray": {"data": {"ndarray": [[text] for text in TEXTS]}},
    "jsonData list": {"jsonData": TEXTS},
    "jsonData object": {"jsonData": {"texts": TEXTS}},
}
SINGLE: dict[str, dict[str, Any]] = {
    "strData": {"strData": TEXTS[0]},
    "binData": {"binData": base64.b64encode(TEXTS[0].encode()).decode()},
    "jsonData text": {"jsonData": TEXTS[0]},
}
ALL = {**KINDS, **SINGLE}


@pytest.fixture(scope="module")
def expected(default_classifier: Classifier) -> list[list[float]]:
    rows: list[list[float]] = default_classifier.classify(TEXTS).probabilities.tolist()
    return rows


@pytest.mark.parametrize("transport", ["rest", "grpc"])
@pytest.mark.parametrize("kind", list(ALL))
def test_the_same_text_gets_the_same_numbers(
    service: Service, expected: list[list[float]], kind: str, transport: str
) -> None:
    """Whatever carried it, REST or gRPC, a text has one answer, to the last digit."""
    message = ALL[kind]
    answer = service.post(message).json() if transport == "rest" else ask_grpc(service, message)
    assert expected[: len(rows_of(answer))] == rows_of(answer)
    assert len(rows_of(answer)) == (1 if kind in SINGLE else 2)


def test_the_first_thing_a_newcomer_tries(service: Service) -> None:
    """Names, order and sides of the two rows, as the README shows them."""
    answer = service.post(GOOD_FIRST).json()
    assert ["negative", "positive"] == answer["data"]["names"]
    (_, good), (bad, _) = answer["data"]["ndarray"]
    assert good > 0.9
    assert bad > 0.9


def test_seldon_client_over_grpc(service: Service, expected: list[list[float]]) -> None:
    """Seldon's own client is what many users have."""
    client = SeldonClient(microservice_endpoint=f"127.0.0.1:{service.grpc}", transport="grpc")
    result = client.microservice(
        method="predict", data=np.array(TEXTS), payload_type="ndarray", names=[]
    )
    assert result.success, result.msg
    answer = (
        json_format.MessageToDict(result.response)
        if not isinstance(result.response, dict)
        else result.response
    )
    assert expected == rows_of(answer)


def test_seldon_client_over_rest(service: Service, expected: list[list[float]]) -> None:
    """It posts a form field, not JSON, which takes another way through the wrapper."""
    client = SeldonClient(microservice_endpoint=f"127.0.0.1:{service.http}", transport="rest")
    result = client.microservice(method="predict", str_data=TEXTS[0])
    assert result.success, result.msg
    np.testing.assert_allclose(
        expected[0], np.ravel(rows_of(json_format.MessageToDict(result.response)
        if not isinstance(result.response, dict) else result.response)),
    )  # fmt: skip


def test_token_ids(service: Service, default_classifier: Classifier) -> None:
    """The published model's own input: ids as ndarray and tensor, padded, REST and gRPC."""
    encoded = default_classifier.tokenizer.encode([TEXTS[0], "Bad."], "end")
    rows = [list(e.windows[0]) for e in encoded]
    width = max(map(len, rows))
    padded = [row + [1] * (width - len(row)) for row in rows]
    expected = default_classifier.classify([TEXTS[0], "Bad."]).probabilities.tolist()
    tensor = {"shape": [2, width], "values": [i for row in padded for i in row]}
    messages: list[dict[str, Any]] = [{"data": {"ndarray": padded}}, {"data": {"tensor": tensor}}]
    for message in messages:
        rest = service.post(message).json()
        assert message["data"].keys() <= rest["data"].keys()
        np.testing.assert_allclose(expected, rows_of(rest), atol=1e-5)
        assert rows_of(rest) == rows_of(ask_grpc(service, message))


def test_tags_say_who_answered_and_what_was_cut(service: Service) -> None:
    """An answer must be traceable to a model, and a cut text must be known."""
    long = "It goes on and on. " * 300
    tags = service.post({"data": {"ndarray": ["Good.", long]}}).json()["meta"]["tags"]
    metadata = requests.get(service.url("/metadata"), timeout=10).json()
    assert metadata["name"] == tags["model_name"]
    assert metadata["versions"] == [tags["model_version"]]
    assert [1] == tags["truncated"]
    assert tags["tokens"][1] > 512
    assert tags["precision"] == metadata["custom"]["precision"]
    over_grpc = ask_grpc(service, {"data": {"ndarray": ["Good.", long]}})["meta"]["tags"]
    assert tags == over_grpc


def test_meta_of_the_caller_comes_back(service: Service) -> None:
    """Puid and tags of earlier nodes belong to the whole graph."""
    meta = {"puid": "abc", "tags": {"mine": [1, {"a": None}], "precision": "fake"}}
    answer = service.post({"strData": "Good.", "meta": meta}).json()["meta"]
    assert "abc" == answer["puid"]
    assert [1, {"a": None}] == answer["tags"]["mine"]
    assert "fake" != answer["tags"]["precision"]


def test_options(service: Service, default_classifier: Classifier) -> None:
    """Output, top_k and truncation act on this request alone."""
    long = "good " * 400 + "bad " * 400

    def ask(**options: Any) -> dict[str, Any]:
        body = {"jsonData": {"texts": [long], "options": options}}
        (prediction,) = service.post(body).json()["jsonData"]["predictions"]
        return dict(prediction)

    plain = ask()
    assert plain["truncated"] is True
    assert plain["tokens"] > 512
    assert {"label", "score", "scores", "tokens", "truncated"} == plain.keys()
    assert plain["score"] == max(plain["scores"].values())
    assert 1 == len(ask(top_k=1)["scores"])
    assert {"label", "tokens", "truncated"} == ask(output="label").keys()
    logits = default_classifier.classify([long]).logits[0].astype(float).tolist()
    shown = ask(output="logits")["scores"]
    np.testing.assert_allclose(logits, [shown["negative"], shown["positive"]], atol=1e-5)
    ends = [ask(truncation=t)["scores"]["positive"] for t in ("end", "start", "middle")]
    assert 3 == len(set(ends))
    assert ask(truncation="windows")["truncated"] is False
    refused = service.post({"jsonData": {"texts": [long], "options": {"truncation": "error"}}})
    assert 400 == refused.status_code
    assert "text 0 has" in refused.json()["status"]["info"]


SENDABLE = [p for p in BAD if p.id not in ("too many texts", "too many characters")]


@pytest.mark.parametrize(
    ("message", "words"),
    [p for p in SENDABLE if p.id not in ("id is NaN", "id is infinite")],
)
def test_bad_requests_over_rest(service: Service, message: Any, words: str) -> None:
    """Status 400, the sentence, and the next good request is answered."""
    answer = service.post(message)
    assert 400 == answer.status_code
    status = answer.json()["status"]
    assert words.split(", the limit")[0] in status["info"]
    assert "FAILURE" == status["status"]
    assert 200 == service.post(GOOD_FIRST).status_code


def _over_grpc(message: Any) -> prediction_pb2.SeldonMessage | None:
    try:
        return to_proto(message)
    except (json_format.ParseError, AttributeError, TypeError, ValueError):
        return None


GRPC_BAD = [
    p
    for p in SENDABLE
    if p.id
    in (
        "empty message", "no texts", "mixed", "None", "bool", "object", "n x 2", "empty row",
        "nested", "flat numbers", "ragged ids", "ids and text", "half", "id is text", "id is bool",
        "1-d tensor", "wrong shape", "empty text", "only spaces", "NUL", "jsonData is a number",
        "jsonData is empty", "jsonData without texts", "topk", "truncation", "top_k", "UTF-8",
    )
]  # fmt: skip


@pytest.mark.parametrize(("message", "words"), GRPC_BAD)
def test_bad_requests_over_grpc(service: Service, message: Any, words: str) -> None:
    """The gRPC client sees the sentence of the REST client, with INVALID_ARGUMENT."""
    with pytest.raises(grpc.RpcError) as caught:
        service.predict(to_proto(message))
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    rest = service.post(message).json()["status"]["info"]
    if "number" not in rest:  # protobuf knows floats only, so 5 is shown as 5.0
        assert rest == caught.value.details()


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "code", "words"),
    [
        pytest.param("POST", "/predict", {"Content-Type": "text/plain"}, b"{}", 415,
                     "the Content-Type is text/plain; send application/json", id="415"),
        pytest.param("POST", "/predict", {}, b"{}", 415, "the Content-Type is missing", id="none"),
        pytest.param("POST", "/predict", {"Content-Type": "application/x-www-form-urlencoded"},
                     b'{"strData":"a"}', 415, "x-www-form-urlencoded; send application/json",
                     id="curl without a header"),
        pytest.param("POST", "/nothing", {}, b"", 404, "there is no /nothing here", id="404"),
        pytest.param("GET", "/api/v1.0/predictions", {}, b"", 405, "use POST", id="GET"),
        pytest.param("DELETE", "/predict", {}, b"", 405, "DELETE is not allowed", id="405"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"}, b'{"strData":', 400,
                     "not valid JSON: Expecting value: line 1 column 12", id="cut JSON"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"}, b"", 400,
                     "not valid JSON", id="empty body"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"},
                     b'{"data":{"ndarray":[[NaN]]}}', 400, "NaN is not a JSON number", id="NaN"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"},
                     b'{"strData":"a","meta":{"tags":{"a":1e999}}}', 400, "too large", id="1e999"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"}, b"\xff\xfe{", 400,
                     "not valid JSON", id="no text at all"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"},
                     b"[" * 100_000, 400, "nested too deeply", id="deep"),
        pytest.param("POST", "/predict", {"Content-Type": "application/json"},
                     b'{"strData":"a\\ud800"}', 400, "lone surrogate", id="surrogate"),
        pytest.param("POST", "/predict?json={", {}, b"", 400, "can't be read", id="query"),
        pytest.param("POST", "/api/v1.0/feedback", {"Content-Type": "application/json"},
                     b'{"nope":1}', 400, "nope", id="feedback with an unknown field"),
    ],
)  # fmt: skip
def test_http_errors(
    service: Service,
    method: str, path: str, headers: dict[str, str], body: bytes, code: int, words: str,
) -> None:  # fmt: skip
    """The caller's mistakes are 4xx with a way out, never 500."""
    answer = requests.request(method, service.url(path), headers=headers, data=body, timeout=30)
    assert code == answer.status_code, answer.text
    assert words in answer.json()["status"]["info"]
    assert code == answer.json()["status"]["code"]


def test_an_idle_connection_is_kept(service: Service) -> None:
    """The executor sends on one it has not used for 90 s; the wrapper would close it after 2."""
    assert int(image_environment()["GUNICORN_KEEPALIVE"]) > 90
    with requests.Session() as session:
        ports = set()
        for pause in (0, 2.5):
            time.sleep(pause)
            url = f"http://127.0.0.1:{service.http}/health/ping"
            with session.get(url, timeout=10, stream=True) as answer:
                ports.add(_local_port(answer))
                assert "pong" == answer.text
    assert 1 == len(ports)


def _local_port(answer: requests.Response) -> int:
    connection: Any = answer.raw.connection
    return int(connection.sock.getsockname()[1])


def test_limits_are_413(service: Service) -> None:
    """Too many texts, too many characters, too large a body: said with the limit."""
    for message, words in (
        ({"jsonData": ["a"] * 1025}, "1025 texts, the limit is 1024 (setting max_texts)"),
        ({"strData": "a" * 2_000_001}, "the limit is 2000000 (setting max_characters)"),
        ({"strData": "a" * 17 * 2**20}, "larger than 16777216 bytes (setting max_body_bytes)"),
    ):
        answer = service.post(message)
        assert 413 == answer.status_code
        assert words in answer.json()["status"]["info"]


def test_grpc_takes_messages_up_to_the_same_limit(service: Service) -> None:
    """gRPC's own limit of 4 MiB would refuse what REST takes."""
    blank = "\u3000" * 2**20  # three bytes a character: 9 MiB of text, refused for its length only
    with pytest.raises(grpc.RpcError) as caught:
        service.predict(to_proto({"strData": "a" + blank * 3}))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()
    assert "setting max_characters" in str(caught.value.details())
    with pytest.raises(grpc.RpcError) as caught:
        service.predict(to_proto({"strData": "a" * 17 * 2**20}))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(json_values)
def test_arbitrary_bodies_never_break_the_server(service: Service, body: Any) -> None:
    """No JSON body gives a 5xx, and a good request right after is right."""
    try:
        data = json.dumps(body).encode()
    except ValueError:
        return
    headers = {"Content-Type": "application/json"}
    for path in ("/predict", "/api/v1.0/feedback"):
        answer = requests.post(service.url(path), data=data, headers=headers, timeout=30)
        assert answer.status_code in (200, 400, 413), answer.text
        json.loads(answer.text, parse_constant=pytest.fail)
    assert 200 == service.post(GOOD_FIRST).status_code


def test_metadata(service: Service) -> None:
    """Both protocols tell what the model takes and gives."""
    rest = requests.get(service.url("/metadata"), timeout=10).json()
    over_grpc = service.stub().ModelMetadata(
        prediction_pb2.SeldonModelMetadataRequest(), timeout=10
    )
    assert rest["name"] == over_grpc.name
    assert rest["versions"] == list(over_grpc.versions)
    assert "onnxruntime" == rest["platform"]
    assert [-1, 2] == rest["outputs"][0]["shape"]
    assert "negative, positive" == rest["custom"]["labels"]
    assert "512" == rest["custom"]["max_tokens"]
    assert "Apache-2.0" in rest["custom"]["licence"]
    assert rest["custom"] == dict(over_grpc.custom)


def feedback(truth: Any = None, reward: float = 0, **request: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"request": request or GOOD_FIRST, "reward": reward}
    return body if truth is None else {**body, "truth": truth}


@pytest.mark.parametrize(
    "truth",
    [
        pytest.param({"data": {"ndarray": ["positive", "positive"]}}, id="labels"),
        pytest.param({"data": {"ndarray": [["positive"], ["positive"]]}}, id="labels n x 1"),
        pytest.param({"data": {"ndarray": [1, 1]}}, id="indices"),
        pytest.param({"data": {"ndarray": [[0, 1], [0, 1]]}}, id="one-hot"),
        pytest.param({"data": {"tensor": {"shape": [2], "values": [1, 1]}}}, id="tensor"),
        pytest.param(
            {"data": {"tensor": {"shape": [2, 2], "values": [0, 1, 0, 1]}}}, id="one-hot tensor"
        ),
        pytest.param({"jsonData": ["positive", 1]}, id="jsonData"),
    ],
)
def test_truth_is_counted_against_the_prediction(service: Service, truth: Any) -> None:
    """Live accuracy is the share of truth == prediction, so each pair counts once."""

    def count(prediction: str) -> float:
        return service.counter("sentiment_feedback_total", truth="positive", prediction=prediction)

    before = [count("positive"), count("negative")]
    answer = service.post(feedback(truth), "/api/v1.0/feedback")
    assert 200 == answer.status_code, answer.text
    assert [1, 1] == [count("positive") - before[0], count("negative") - before[1]]


def test_feedback_on_text_in_every_kind(service: Service) -> None:
    """The wrapper passes text feedback as an empty array."""
    before = service.counter("sentiment_feedback_total")
    for kind, request in ALL.items():
        truth = {"jsonData": ["positive"] * (1 if kind in SINGLE else 2)}
        response = service.post(request).json()
        body = {"request": request, "response": response, "truth": truth, "reward": 1}
        answer = service.post(body, "/api/v1.0/feedback")
        assert 200 == answer.status_code, answer.text
        proto = json_format.ParseDict(body, prediction_pb2.Feedback())
        service.stub().SendFeedback(proto, timeout=10)
    assert 2 * (4 * 2 + 3) == service.counter("sentiment_feedback_total") - before


def test_a_reward_of_zero_counts(service: Service) -> None:
    """With 0/1 rewards the mean would be 1 forever."""
    names = ("sentiment_rewards_total", "seldon_api_model_feedback_total")
    before = [service.counter(name) for name in names]
    total = service.counter("sentiment_reward_sum_total", sign="positive")
    for reward in (0, 1):
        truth = {"jsonData": ["positive", "negative"]}
        service.post(feedback(truth, reward), "/api/v1.0/feedback")
    assert [2, 2] == [service.counter(n) - b for n, b in zip(names, before, strict=True)]
    assert 1 == service.counter("sentiment_reward_sum_total", sign="positive") - total


def test_feedback_for_another_model_is_not_counted(service: Service) -> None:
    """Without routing, Seldon sends feedback to every model; only the one that answered counts."""
    response = service.post(GOOD_FIRST).json()
    response["meta"]["tags"]["model_version"] = "another"
    before = service.counter("sentiment_feedback_total")
    body = {**feedback({"jsonData": ["positive", "negative"]}), "response": response}
    assert 200 == service.post(body, "/api/v1.0/feedback").status_code
    assert before == service.counter("sentiment_feedback_total")
    assert 1 <= service.counter("sentiment_foreign_feedback_total")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({}, "the feedback is empty", id="empty"),
        pytest.param(feedback(None, 1e7), "reward is 1e+07", id="absurd reward"),
        pytest.param(feedback({"strData": "positive"}), "1 truths for 2 texts", id="one for two"),
        pytest.param(
            feedback({"jsonData": ["positive", "great"]}), "truth 1 is 'great'", id="unknown label"
        ),
        pytest.param(feedback({"jsonData": [1, 2]}), "truth 1 is", id="unknown index"),
        pytest.param(feedback({"jsonData": [1, 0.5]}), "truth 1 is", id="fraction"),
        pytest.param(feedback({"jsonData": [1, [1, 1]]}), "truth 1 is", id="not one-hot"),
        pytest.param(feedback({"jsonData": []}), "truth is an empty list", id="no truth"),
        pytest.param({"truth": {"strData": "positive"}}, "neither the request", id="no request"),
        pytest.param(
            feedback({"strData": "positive"}, strData=""), "request: text 0 is empty", id="bad text"
        ),
        pytest.param(
            {**feedback({"strData": "positive"}, strData="Good."),
             "response": {"data": {"ndarray": [[1, 2, 3]]}}},
            "rows of 2 scores", id="response of another model",
        ),
    ],
)  # fmt: skip
def test_nonsense_feedback_is_refused(service: Service, body: Any, words: str) -> None:
    """Feedback that is counted wrongly is worse than none."""
    answer = service.post(body, "/api/v1.0/feedback")
    assert 400 == answer.status_code, answer.text
    assert words in answer.json()["status"]["info"]
    with pytest.raises(grpc.RpcError) as caught:
        service.stub().SendFeedback(
            json_format.ParseDict(body, prediction_pb2.Feedback()), timeout=10
        )
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert words in str(caught.value.details())


def test_counters_lose_nothing_under_threads(service: Service) -> None:
    """4 threads x 1,000 predictions: the counters say 4,000."""
    before = service.counter("sentiment_texts_total", label="positive")
    body = {"data": {"ndarray": [TEXTS[0]]}}

    def work() -> None:
        with requests.Session() as session:
            for _ in range(1000):
                session.post(service.url("/predict"), json=body, timeout=60).raise_for_status()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4000 == service.counter("sentiment_texts_total", label="positive") - before


def test_refusals_are_counted_by_reason(service: Service) -> None:
    """An operator wants to see what callers do wrong, on either protocol."""
    name = "sentiment_refused_requests_total"
    before = service.counter(name, reason="bad_text")
    service.post({"strData": ""})
    with pytest.raises(grpc.RpcError):
        service.predict(to_proto({"strData": ""}))
    assert 2 == service.counter(name, reason="bad_text") - before
    before = service.counter(name, reason="not_found")
    requests.get(service.url("/nothing"), timeout=10)
    assert 1 == service.counter(name, reason="not_found") - before


@pytest.mark.parametrize("part", ["binData", "strData"])
def test_a_file_in_a_multipart_request_is_the_text_itself(service: Service, part: str) -> None:
    """curl -F binData=@review.txt sends the bytes of the file, not their base64."""
    text = "A wonderful, moving film with great performances."
    expected = service.post({"strData": text}).json()["data"]
    answer = requests.post(
        service.url("/predict"), files={part: ("review.txt", text.encode())}, timeout=30
    )
    assert (200, expected) == (answer.status_code, answer.json()["data"])
