"""A baseline takes and gives what the RoBERTa node does, so that it can stand in its place."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import requests

from baselines.lexicon.Lexicon import Lexicon
from baselines.linear.Linear import Linear
from baselines.node import SUPPORTED, BaselineNode
from Model import Model
from roberta_sentiment.settings import Settings
from tests.service import Service
from tests.wire import to_proto

TEXTS = ["This film is so good", "This film is so bad"]
NODES = [Lexicon, Linear]


@pytest.fixture(params=NODES, ids=lambda node: node.NAME)
def node(request: pytest.FixtureRequest) -> BaselineNode:
    made: BaselineNode = request.param()
    made.load()
    return made


@pytest.fixture(scope="session")
def roberta() -> Model:
    model = Model()
    model.load()
    return model


def form(value: Any) -> Any:
    """A value without its numbers and words: keys, lengths and types."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [form(item) for item in value]
    return type(value)


def without_order(value: Any) -> Any:
    """The answer's fields apart from what belongs to one model: its ranking and its name."""
    if isinstance(value, dict):
        return {key: without_order(value[key]) for key in sorted(value)}
    return [without_order(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"data": {"ndarray": TEXTS}}, id="ndarray"),
        pytest.param({"data": {"ndarray": [[text] for text in TEXTS]}}, id="ndarray n x 1"),
        pytest.param({"strData": TEXTS[0]}, id="strData"),
        pytest.param({"binData": "VGhpcyBmaWxtIGlzIHNvIGdvb2Q="}, id="binData"),
        pytest.param({"jsonData": TEXTS}, id="jsonData"),
        pytest.param(
            {"jsonData": {"texts": TEXTS, "options": {"truncation": "windows", "top_k": 1}}},
            id="options",
        ),
        pytest.param({"data": {"ndarray": []}}, id="nothing"),
        pytest.param({"data": {"ndarray": ["a", 5]}}, id="a number among texts"),
    ],
)
def test_the_answer_has_the_form_of_the_roberta_node_s(
    node: BaselineNode, roberta: Model, message: dict[str, Any]
) -> None:
    """Either side of the graph can be swapped only if no client notices."""
    ours, theirs = node.predict_raw(message), roberta.predict_raw(message)
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert form(without_order(theirs)) == form(without_order(ours))
    assert theirs.get("data", {}).get("names") == ours.get("data", {}).get("names")


def test_good_beats_bad(node: BaselineNode) -> None:
    """The columns are not swapped, and each row sums to 1."""
    scores = node.predict(TEXTS).data
    assert ["negative", "positive"] == node.class_names()
    assert scores[0, 1] > 0.5 > scores[1, 1]
    assert pytest.approx([1.0, 1.0]) == scores.sum(axis=1)


@pytest.mark.parametrize(
    "message",
    [
        {"data": {"ndarray": [[0, 7, 2]]}},
        {"data": {"tensor": {"shape": [1, 3], "values": [0, 7, 2]}}},
    ],
    ids=["ndarray", "tensor"],
)
def test_token_ids_are_refused(node: BaselineNode, message: dict[str, Any]) -> None:
    """Ids of RoBERTa's vocabulary mean nothing here; a number in answer would be a lie."""
    status = node.predict_raw(message)["status"]
    assert (400, "BAD_TOKEN_IDS") == (status["code"], status["reason"])
    assert "send the texts themselves" in status["info"]


@pytest.mark.parametrize("kind", NODES, ids=lambda node: node.NAME)
@pytest.mark.parametrize(
    ("name", "value"),
    [("model_uri", "/mnt/models"), ("max_tokens", "256"), ("threads", "2"), ("max_queue", "8")],
)
def test_a_setting_without_effect_aborts_startup(
    kind: type[BaselineNode], name: str, value: str
) -> None:
    """A token limit would have no effect on a lexicon."""
    with pytest.raises(SystemExit, match=f"{name} is .* remove it"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", NODES, ids=lambda node: node.NAME)
def test_a_label_map_to_another_label_aborts_startup(kind: type[BaselineNode]) -> None:
    """As with RoBERTa."""
    message = "cannot start: label_map: 'good' is not a label; labels are negative, positive"
    with pytest.raises(SystemExit, match=message):
        kind(label_map="LABEL_1=good")


def test_taken_settings_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters that deploy/ab-test.yaml gives both models, and the variables beside them."""
    monkeypatch.setenv("SENTIMENT_MAX_CHARACTERS", "10")
    node = Lexicon(truncation="end", max_texts="2", model_name="other")
    node.load()
    assert "other" == node.identity["model_name"]
    assert 413 == node.predict_raw({"data": {"ndarray": ["a"] * 3}})["status"]["code"]
    assert 413 == node.predict_raw({"strData": "a" * 11})["status"]["code"]
    assert set(SUPPORTED) <= set(Settings.__dataclass_fields__)


def test_the_version_is_that_of_the_files(node: BaselineNode) -> None:
    """Feedback on another version's answer must be recognised."""
    another = type(node)()
    assert node.identity == another.identity
    assert Lexicon().identity["model_version"] != Linear().identity["model_version"]


def test_it_is_served(lexicon_service: Service) -> None:
    """The real microservice: prediction, path, refusal, metadata and metrics over REST."""
    answer = lexicon_service.post({"data": {"ndarray": TEXTS}}).json()
    assert ["negative", "positive"] == answer["data"]["names"]
    assert ["lexicon"] == list(answer["meta"]["requestPath"])
    refused = lexicon_service.post({"data": {"ndarray": [[0, 2]]}})
    assert (400, "BAD_TOKEN_IDS") == (refused.status_code, refused.json()["status"]["reason"])
    metadata = requests.get(lexicon_service.url("/metadata"), timeout=10).json()
    assert "vader-lexicon" == metadata["name"]
    assert lexicon_service.counter("sentiment_texts_total") >= 2


def test_it_is_served_over_grpc(lexicon_service: Service) -> None:
    """The same over gRPC, with the code that belongs to the refusal."""
    answer = lexicon_service.predict(to_proto({"data": {"ndarray": TEXTS}}))
    assert ["negative", "positive"] == list(answer.data.names)
    with pytest.raises(grpc.RpcError) as caught:
        lexicon_service.predict(to_proto({"data": {"ndarray": [[0, 2]]}}))
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()


def test_its_feedback_is_counted(lexicon_service: Service) -> None:
    """The confusion table is what an A/B test compares."""
    pair = {"truth": "negative", "prediction": "positive"}
    before = lexicon_service.counter("sentiment_feedback_total", **pair)
    response = lexicon_service.post({"data": {"ndarray": ["This film is so good"]}}).json()
    feedback = {"response": response, "truth": {"data": {"ndarray": ["negative"]}}, "reward": 0}
    assert 200 == lexicon_service.post(feedback, "/api/v1.0/feedback").status_code
    assert before + 1 == lexicon_service.counter("sentiment_feedback_total", **pair)
