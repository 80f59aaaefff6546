"""`ab import`: records from the log that Seldon's executor keeps of other people's requests."""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from prometheus_client.parser import text_string_to_metric_families
from seldon_core.proto.prediction_pb2 import SeldonMessage

from ab.data import fingerprint
from ab.errors import USAGE
from ab.imported.log_events import cloud_event, read_events
from ab.imported.payloads import answers_of, texts_of, truths_of
from ab.imported.sink import Sink
from ab.observations import Observations, observe
from ab.record import read_record
from ab.report.analysis import analyse
from ab.stats.power import TestPlan
from ab.transport import proto_v2
from roberta_sentiment.errors import DataError
from tests import ROOT
from tests.ab.records import LABELS
from tests.ab.running import Ended, run_ab

Entry = dict[str, Any]

FIXTURES = ROOT / "tests" / "fixtures" / "executor"
MODELS = ("--models", "roberta=0.5", "--models", "lexicon=0.5")
TEXT = "This film is so good"


def event(kind: str, request: str, body: Any, second: float = 0.0, /, **headers: str) -> Entry:
    """A line of the log, in the form of the recorded ones."""
    moment = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC) + datetime.timedelta(0, second)
    given = {
        "Ce-Type": f"io.seldon.serving.{'' if kind == 'feedback' else 'inference.'}{kind}",
        "Ce-Requestid": request,
        "Ce-Inferenceservicename": "sentiment-ab",
        "Ce-Endpoint": "default",
        "Ce-Modelid": "ab",
        "Ce-Time": moment.isoformat().replace("+00:00", "Z"),
        "Ce-Protocol": "seldon",
    }
    return {"headers": {**given, **headers}, "body": body}


def answer(*scores: float, model: str = "roberta", **tags: Any) -> Entry:
    """The body of an answer; each score is that of `positive` for one text."""
    return {
        "data": {"names": list(LABELS), "ndarray": [[1 - score, score] for score in scores]},
        "meta": {"requestPath": {model: "image"}, "tags": tags},
    }


def asked(*texts: str, **tags: Any) -> Entry:
    """The body of a request."""
    return {"data": {"ndarray": list(texts)}, "meta": {"tags": tags}}


def pair(request: str, question: Any, reply: Any, **headers: str) -> list[Entry]:
    """A request and its answer, 20 ms later."""
    return [
        event("request", request, question, **headers),
        event("response", request, reply, 0.02, **headers),
    ]


def write(path: Path, entries: Iterable[Any]) -> Path:
    """The log as JSON lines."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def imported(path: Path, entries: Iterable[Any], *options: str) -> tuple[Ended, Observations]:
    """The log, imported into a record beside it."""
    log = write(path / "log.jsonl", entries)
    record = path / "record.jsonl"
    ended = run_ab("import", log, "--record", record, *(options or MODELS))
    assert 0 == ended.code, ended.err
    return ended, observe(read_record(record))


def test_the_recorded_events_are_read(tmp_path: Path) -> None:
    """Of ten recorded requests over REST and gRPC, logged at a model, at both children and at the
    router, three have no answer; feedback is no request."""
    lines = (FIXTURES / "cloudevents.jsonl").read_text(encoding="utf-8").splitlines()
    ended, seen = imported(tmp_path, map(json.loads, lines))
    assert {
        "puid-rest-1": "roberta", "puid-grpc-1": "roberta", "puid-ab-1": "lexicon",
        "puid-ab-4": "roberta",
    } == seen.answered.model.to_dict()  # fmt: skip
    assert {fingerprint(TEXT)} == set(seen.answered.sha256)
    assert ["roberta"] * 3 == [failure.model for failure in seen.failures]
    assert 0.019912 == seen.answered.latency_s["puid-ab-1"]
    assert "3 requests without an answer" in ended.err


def counts_of(page: Path, service: str) -> Counter[str]:
    """Answered predictions by model, of the executor's metrics page."""
    return Counter(
        {
            sample.labels["model_name"]: int(sample.value)
            for family in text_string_to_metric_families(page.read_text(encoding="utf-8"))
            for sample in family.samples
            if sample.name == "seldon_api_executor_client_requests_seconds_count"
            and sample.labels["service"] == service
            and sample.labels["code"] in ("200", "OK")
        }
    )


@pytest.mark.parametrize(
    ("transport", "service", "refused", "dead"),
    [("rest", "/predict", 4, 3), ("grpc", "/seldon.protos.Model/Predict", 2, 3)],
)
def test_the_counts_are_those_of_the_executor_s_metrics(
    tmp_path: Path, transport: str, service: str, refused: int, dead: int
) -> None:
    """The real exchanges, as often as the metrics page counts them, in any order and some twice:
    the record has the same answers for each model, and everything else as failed."""
    exchanges = [json.loads(line) for line in (FIXTURES / "exchanges.jsonl").open(encoding="utf-8")]
    expected = counts_of(FIXTURES / f"metrics-{transport}.txt", service)
    entries: list[Entry] = []
    for model, n in expected.items():
        found = next(
            e for e in exchanges
            if e["name"] == f"predict-{model}" and e["transport"] == transport
            and "ab(0.5)" in e["graph"]
        )  # fmt: skip
        bodies = [logged(found[side], transport) for side in ("request", "response")]
        for i in range(n):
            entries += pair(f"{model}-{i}", *bodies)
    entries += [event("request", f"failed-{i}", asked(TEXT)) for i in range(refused + dead)]
    entries += random.Random(1).sample(entries, 9)
    random.Random(2).shuffle(entries)
    ended, seen = imported(tmp_path, entries)
    assert expected == Counter(seen.answered.model)
    assert refused + dead == len(seen.failures) == seen.totals.unknown_errors["failed"]
    assert "9 events that came twice" in ended.err


def logged(side: Entry, transport: str) -> Any:
    """A recorded body as the logger sends it: as it is, or over gRPC protobuf in base64."""
    if transport == "rest":
        return side["body"]
    message = json_format.ParseDict(side["message"], SeldonMessage())
    return {"base64": base64.b64encode(message.SerializeToString()).decode()}


def test_order_doubles_and_losses_change_nothing(tmp_path: Path) -> None:
    """Answers may come first, events twice, and either side may be lost."""
    entries = [
        *reversed(pair("one", asked("good"), answer(0.9))),
        *pair("two", asked("bad"), answer(0.1)),
        *pair("two", asked("bad"), answer(0.1)),
        event("response", "three", answer(0.8, model="lexicon")),
        event("request", "four", asked("lost")),
    ]
    ended, seen = imported(tmp_path, entries)
    assert {"one": "roberta", "two": "roberta", "three": "lexicon"} == seen.answered.model.to_dict()
    assert ["", fingerprint("bad"), fingerprint("good")] == sorted(seen.answered.sha256)
    assert seen.answered.latency_s.isna()["three"]
    assert [("four", None)] == [(failure.id, failure.model) for failure in seen.failures]
    assert "1 answers whose request was lost" in ended.err


def test_a_request_that_several_nodes_log_counts_once(tmp_path: Path) -> None:
    """The router's events and its child's have one id; the child says which model it is."""
    entries = pair("one", asked("good"), answer(0.9), **{"Ce-Modelid": "lexicon"})
    entries += [
        event("request", "one", asked("good"), -0.01),
        event("response", "one", answer(0.9, model="none"), 0.03),
    ]
    _, seen = imported(tmp_path, entries)
    assert [("one", "lexicon", "node")] == list(
        seen.answered[["id", "model", "by"]].itertuples(index=False, name=None)
    )
    assert [0.04] == seen.answered.latency_s.tolist()


def test_several_texts_have_an_id_each_and_truths_find_them(tmp_path: Path) -> None:
    """The ids are the request's with the number of the text; they are one draw of a model."""
    entries = pair("r", asked("a", "b", "c"), answer(0.9, 0.2, 0.7, truncated=[1]))
    entries += pair("s", asked("a"), answer(0.9, model="lexicon"))
    _, seen = imported(tmp_path, entries)
    assert ["r#0", "r#1", "r#2", "s"] == sorted(seen.answered.id)
    assert [False, True, False] == seen.answered.truncated[["r#0", "r#1", "r#2"]].tolist()
    assert {"r", "s"} == set(seen.answered.unit)
    truths = tmp_path / "truths.tsv"
    truths.write_text("id\tlabel\nr#0\tpositive\nr#1\tpositive\ns#0\t0\n", encoding="utf-8")
    told = run_ab("truth", tmp_path / "record.jsonl", truths, "--no-feedback")
    assert (0, "3 truths matched, 0 fit no answer: 3 recorded") == (told.code, told.err)
    refused = run_ab("truth", tmp_path / "record.jsonl", truths)
    assert "the record names no endpoint; give --no-feedback" in refused.err
    analysis = analyse(read_record(tmp_path / "record.jsonl"), TestPlan())
    assert [(1, 2, 1), (1, 1, 0)] == [(m.tries, m.judged, m.right) for m in analysis.models]


@pytest.mark.parametrize(
    "entries",
    [
        [event("request", "one", {"data": {"ndarray": []}})],
        [event("request", "one", {"inputs": [{"datatype": "INT64", "data": [0, 5, 2]}]})],
        [event("request", "one", "--X\r\nform")],
        pair("one", asked("good"), {"status": {"code": 500}}),
        pair("one", asked("good"), {"data": {"names": ["bad", "good"], "ndarray": [[0.1, 0.9]]}}),
        [event("response", "one", {"outputs": []})],
    ],
    ids=["no text", "ids", "form", "error", "other labels", "empty answer"],
)
def test_what_can_t_be_counted_is_a_failure(tmp_path: Path, entries: list[Entry]) -> None:
    """It must not vanish: the split and the errors are those of all requests."""
    _, seen = imported(tmp_path, entries)
    assert (1, 0, 1) == (seen.totals.requests, len(seen.answered), len(seen.failures))


def test_a_record_grows_by_what_it_has_not(tmp_path: Path) -> None:
    """The same log again adds nothing; under other models it is refused."""
    entries = pair("one", asked("good"), answer(0.9))
    imported(tmp_path, entries)
    again, seen = imported(tmp_path, [*entries, *pair("two", asked("bad"), answer(0.1))])
    assert ["one", "two"] == seen.answered.id.tolist()
    assert "1 requests that the record has" in again.err
    record = tmp_path / "record.jsonl"
    other = run_ab("import", tmp_path / "log.jsonl", "--record", record, "--models", "other")
    assert (USAGE, True) == (other.code, "the record is of another run: models was" in other.err)


def of_two_predictors(shared: bool = False) -> list[Entry]:
    """Two predictors whose nodes have one name, each with a version of its own; with `shared` the
    second is a shadow that gets every text again under the same id."""
    entries = []
    for i in range(6):
        for j, predictor in enumerate(("main", "canary")):
            reply = answer(0.9, model="model", model_name="m", model_version=f"v{j + 1}")
            if shared or i % 2 == j:
                entries += pair(f"r{i}", asked(f"text {i}"), reply, **{"Ce-Endpoint": predictor})
    return entries


@pytest.mark.parametrize(
    "names", [("main", "canary"), ("m/v1", "m/v2")], ids=["predictor", "version"]
)
def test_two_predictors_are_told_apart(tmp_path: Path, names: tuple[str, str]) -> None:
    """There is no routing between them, and their nodes have the same name."""
    given = [item for name in names for item in ("--models", f"{name}=0.5")]
    _, seen = imported(tmp_path, of_two_predictors(), *given)
    assert dict.fromkeys(names, 3) == Counter(seen.answered.model)


def test_a_shadow_is_compared_text_by_text(tmp_path: Path) -> None:
    """Two records of one log, and `ab compare`."""
    log = write(tmp_path / "log.jsonl", of_two_predictors(shared=True))
    for name in ("main", "canary"):
        ended = run_ab("import", log, "--record", tmp_path / name, "--models", name)
        assert "12 events of other predictors or deployments" in ended.err
    compared = run_ab("compare", tmp_path / "main", tmp_path / "canary")
    assert "No truth is known: canary and main disagree on 0 of 6 texts." in compared.out


def test_a_log_of_several_deployments_needs_a_choice(tmp_path: Path) -> None:
    """Ids and models of another deployment mean something else."""
    entries = pair("one", asked("good"), answer(0.9))
    entries += pair("two", asked("good"), answer(0.9), **{"Ce-Inferenceservicename": "other"})
    log = write(tmp_path / "log.jsonl", entries)
    refused = run_ab("import", log, "--record", tmp_path / "r", *MODELS)
    assert "several deployments (other, sentiment-ab); name one: --deployment" in refused.err
    (tmp_path / "r").unlink()
    _, seen = imported(tmp_path, entries, *MODELS, "--deployment", "other")
    assert ["two"] == seen.answered.id.tolist()


def test_feedback_in_the_log_is_a_truth(tmp_path: Path) -> None:
    """It has an id of its own; the puid inside says which request it is about."""
    about = {"response": {"meta": {"puid": "one"}}, "truth": {"data": {"ndarray": ["negative"]}}}
    entries = [
        *pair("one", asked("good"), answer(0.9)),
        *pair("two", asked("good"), answer(0.9)),
        event("feedback", "x", about),
        event("feedback", "two", {"truth": {"data": {"ndarray": [1]}}, "reward": 1.0}),
        event("feedback", "y", {"reward": 1.0}),
    ]
    ended, seen = imported(tmp_path, entries)
    assert {"one": "negative", "two": "positive"} == seen.answered.truth.to_dict()
    assert "1 feedback without a known request" in ended.err


def test_a_sampled_log_has_other_shares(tmp_path: Path) -> None:
    """Half of A's requests and all of B's are logged: a third and two thirds of the log."""
    entries = [e for i in range(30) for e in pair(
        f"r{i}", asked(str(i)), answer(0.9, model="roberta" if i % 3 == 0 else "lexicon")
    )]  # fmt: skip
    options = (*MODELS, "--sampled", "roberta=0.5", "--sampled", "lexicon=1")
    _, seen = imported(tmp_path, entries, *options)
    assert [1 / 3, 2 / 3] == pytest.approx([model["share"] for model in seen.run["models"]])
    assert {"roberta": 0.5, "lexicon": 1.0} == seen.run["sampled"]
    report = run_ab("report", tmp_path / "record.jsonl")
    assert "The log is a sample" in report.out


def test_other_names_of_labels_are_mapped(tmp_path: Path) -> None:
    """In logged answers and in logged feedback."""
    reply = answer(0.9)
    reply["data"]["names"] = ["LABEL_0", "LABEL_1"]
    told = {"response": {"meta": {"puid": "one"}}, "truth": {"strData": "good"}}
    entries = [*pair("one", asked("fine"), reply), event("feedback", "two", told, 0.03)]
    names = ("--label-map", "LABEL_0=negative,LABEL_1=positive,good=positive")
    _, seen = imported(tmp_path, entries, *MODELS, *names)
    assert [("positive", "positive")] == list(
        zip(seen.answered.predicted, seen.answered.truth, strict=True)
    )


@pytest.mark.parametrize("rates", [["0"], ["roberta=0.5"], ["x=1"], ["1.5"], ["0.5", "0.5"]])
def test_wrong_rates_are_refused(tmp_path: Path, rates: list[str]) -> None:
    """A rate of nothing, or of some models only, would bend the split."""
    options = [item for rate in rates for item in ("--sampled", rate)]
    log = write(tmp_path / "log.jsonl", pair("one", asked("good"), answer(0.9)))
    ended = run_ab("import", log, "--record", tmp_path / "r", *MODELS, *options)
    assert (USAGE, False) == (ended.code, (tmp_path / "r").exists())
    assert "--sampled" in ended.err


def test_texts_are_kept_on_demand_and_deleted_in_time(tmp_path: Path) -> None:
    """Reviews are personal data: the record holds a checksum, or the text for some days."""
    entries = pair("one", asked("good"), answer(0.9))
    imported(tmp_path, entries)
    assert "good" not in (tmp_path / "record.jsonl").read_text()
    (tmp_path / "kept").mkdir()
    _, seen = imported(tmp_path / "kept", entries, *MODELS, "--keep-texts")
    assert ["good"] == seen.answered.text.tolist()
    _, seen = imported(tmp_path / "kept", entries, *MODELS, "--keep-texts", "--retention", "1")
    assert [(None, fingerprint("good"))] == list(
        zip(seen.answered.text, seen.answered.sha256, strict=True)
    )


def of_elasticsearch(entries: Sequence[Entry]) -> list[Entry]:
    """Pairs as documents of Seldon's request logger."""
    documents: dict[str, Entry] = {}
    for entry in entries:
        headers = entry["headers"]
        kind, request = headers["Ce-Type"].rpartition(".")[2], headers["Ce-Requestid"]
        found = documents.setdefault(request, {"_id": request, "_source": {}})["_source"]
        found |= {k: v for k, v in headers.items() if k in ("Ce-Endpoint", "Ce-Modelid")}
        found |= {
            "Ce-Inferenceservicename": "sentiment-ab",
            "RequestId": request,
            "@timestamp": headers["Ce-Time"],
            kind: {"payload": entry["body"], "dataType": "text", "ce-time": headers["Ce-Time"]},
        }
    return list(documents.values())


@pytest.mark.parametrize("form", ["lines", "search answer", "list", "structured"])
def test_every_form_of_a_log_gives_the_same_record(tmp_path: Path, form: str) -> None:
    """Lines of `elasticdump`, the answer of a search, a list, CloudEvents in structured form."""
    entries = [*pair("one", asked("good"), answer(0.9)), *pair("two", asked("x"), answer(0.2))]
    path = tmp_path / "log.jsonl"
    if form == "lines":
        write(path, of_elasticsearch(entries))
    elif form == "search answer":
        path.write_text(json.dumps({"hits": {"hits": of_elasticsearch(entries)}}, indent=1))
    elif form == "list":
        path.write_text(json.dumps(entries, indent=1))
    else:
        write(path, (
            {"specversion": "1.0", "data": e["body"],
             **{k[3:].lower(): v for k, v in e["headers"].items()}} for e in entries
        ))  # fmt: skip
    record = tmp_path / "record.jsonl"
    assert 0 == run_ab("import", path, "--record", record, *MODELS).code
    seen = observe(read_record(record)).answered
    assert [("one", 0.9), ("two", 0.8)] == list(zip(seen.id, seen.score, strict=True))
    assert [0.02, 0.02] == seen.latency_s.tolist()


def test_v2_payloads_are_read(tmp_path: Path) -> None:
    """REST and gRPC, typed and raw; the model is that which the server names."""
    question = {
        "id": "x",
        "parameters": {"tier": "gold"},
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}],
    }
    reply = {
        "model_name": "roberta",
        "model_version": "v1",
        "outputs": [
            {"name": "probabilities", "datatype": "FP64", "shape": [2, 2],
             "data": [0.9, 0.1, 0.2, 0.8]},
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["negative", "positive"]},
        ],
    }  # fmt: skip
    raw = {"base64": base64.b64encode(proto_v2.request({"id": "y", "inputs": [
        {"name": "text", "data": ["c"]}]}, "roberta", "")).decode()}  # fmt: skip
    v2 = {"Ce-Protocol": "v2", "Ce-Modelid": "senti"}
    entries = [*pair("one", question, reply, **v2), event("request", "two", raw, **v2)]
    _, seen = imported(tmp_path, entries)
    found = seen.answered
    assert [("one#0", "negative"), ("one#1", "positive")] == list(
        zip(found.id, found.predicted, strict=True)
    )
    assert ["roberta", "roberta"] == found.model.tolist()
    assert {"tier": "gold"} == found.request_tags["one#0"]
    lines = [e for e in read_record(tmp_path / "record.jsonl").events if e.get("puid") == "two"]
    assert fingerprint("c") == lines[0]["sha256"]


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"data": {"ndarray": ["a", "b"]}}, ["a", "b"]),
        ({"data": {"ndarray": [["a"], ["b"]]}}, ["a", "b"]),
        ({"data": {"ndarray": [[0, 5, 2]]}}, [None]),
        ({"data": {"tensor": {"shape": [2, 3], "values": [0] * 6}}}, [None, None]),
        ({"strData": "a"}, ["a"]),
        ({"binData": base64.b64encode(b"a").decode()}, ["a"]),
        ({"binData": 5}, [None]),
        ({"jsonData": "a"}, ["a"]),
        ({"jsonData": {"texts": ["a", "b"], "options": {}}}, ["a", "b"]),
        ({"inputs": [{"datatype": "BYTES", "data": [["a"], ["b"]]}]}, ["a", "b"]),
        ({"dta": 1}, [None]),
    ],
)
def test_texts_are_found_in_every_kind_of_request(body: Entry, texts: list[str | None]) -> None:
    """Those of the README's table, and V2; what is no text counts without one."""
    assert texts == texts_of(body)


def test_answers_are_found_in_every_kind() -> None:
    """ndarray, tensor and jsonData of two texts say the same."""
    meta = {"meta": {"tags": {"truncated": [1]}}}
    rows = [[0.9, 0.1], [0.2, 0.8]]
    tensor = {"names": list(LABELS), "tensor": {"shape": [2, 2], "values": [0.9, 0.1, 0.2, 0.8]}}
    named = [{"scores": dict(zip(LABELS, row, strict=True))} for row in rows]
    bodies: list[Entry] = [
        {"data": {"names": list(LABELS), "ndarray": rows}},
        {"data": tensor},
        {"jsonData": {"predictions": named}},
    ]
    for body in bodies:
        found = answers_of({**body, **meta})
        assert rows == [each["data"]["ndarray"][0] for each in found]
        assert [[], [1]] == [each["meta"]["tags"]["truncated"] for each in found]
    assert [] == answers_of({"status": {"code": 500}})


@pytest.mark.parametrize(
    ("truth", "labels"),
    [
        ({"data": {"ndarray": ["positive", "x"]}}, ["positive", None]),
        ({"data": {"ndarray": [[0, 1], [1.0, 0.0]]}}, ["positive", "negative"]),
        ({"data": {"tensor": {"shape": [2, 1], "values": [1, 0]}}}, ["positive", "negative"]),
        ({"strData": "negative"}, ["negative"]),
        ({"data": {"ndarray": ["POSITIVE", "bad"]}}, ["positive", "negative"]),
        (None, []),
    ],
)
def test_truths_are_labels_indices_or_one_hot(truth: Any, labels: list[str | None]) -> None:
    """As the server takes them."""
    assert labels == truths_of({"truth": truth}, LABELS, {"bad": "negative"})


@pytest.mark.parametrize(
    "headers",
    [{}, {"ce-type": "io.seldon.serving.inference.outlier", "ce-requestid": "x"},
     {"ce-type": "a.request", "ce-requestid": "x", "ce-time": "yesterday"}],
    ids=["none", "outlier", "time"],
)  # fmt: skip
def test_what_is_no_event_of_ours_is_none(headers: dict[str, str]) -> None:
    """It is counted, and ends nothing."""
    assert cloud_event(headers, b"{}") is None


def test_a_file_that_is_no_log_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A broken line in the middle is one event less."""
    path = tmp_path / "log.jsonl"
    path.write_text("nonsense\n")
    refused = run_ab("import", path, "--record", tmp_path / "r", *MODELS)
    assert "log.jsonl holds no event of a request log" in refused.err
    assert not (tmp_path / "r").exists()
    write(path, pair("one", asked("good"), answer(0.9)))
    with path.open("a") as file:
        file.write("{cut\n5\n")
    assert [True, True, False, False] == [event is not None for event in read_events(path)]
    with pytest.raises(DataError, match="can't be read"):
        list(read_events(tmp_path / "none"))


def test_the_sink_takes_events_and_waits_for_answers() -> None:
    """Behind `logger.url`: binary and structured events; what is none is refused or ignored."""
    sink = Sink("127.0.0.1:0")
    connection = http.client.HTTPConnection("127.0.0.1", sink.port)

    def post(headers: dict[str, str], body: str) -> int:
        connection.request("POST", "/", body, headers)
        answered = connection.getresponse()
        answered.read()
        return answered.status

    first, second = pair("one", asked("good"), answer(0.9))
    structured = {"specversion": "1.0", "data": second["body"]}
    structured |= {name[3:].lower(): value for name, value in second["headers"].items()}
    kind = {"Content-Type": "application/cloudevents+json"}
    assert 202 == post(first["headers"], json.dumps(first["body"]))
    assert [] == sink.take(0.0)
    assert 202 == post(kind, json.dumps(structured))
    assert 202 == post({"Ce-Type": "other"}, "{}")
    assert 400 == post(kind, "{")
    connection.request("GET", "/")
    assert 200 == connection.getresponse().status
    taken = sink.take(float("inf"))
    assert ["request", "response"] == sorted(e.kind for e in taken if e)
    assert [] == sink.take(float("inf"))
    connection.close()
    sink.close()


def test_a_file_or_a_sink_is_needed(tmp_path: Path) -> None:
    """Not both, not neither; and an address that is none is refused."""
    record = tmp_path / "r"
    assert "and not both" in run_ab("import", "--record", record, *MODELS).err
    wrong = run_ab("import", "--record", record, "--listen", "nowhere", *MODELS)
    assert (USAGE, True) == (wrong.code, "can't listen on 'nowhere'" in wrong.err)
    assert not record.exists()
