"""Seldon's own batch processor against the node: the real command, over REST and gRPC."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.score.run import score
from tests import ROOT
from tests.service import Service

pytestmark = pytest.mark.long
WORKFLOW = yaml.safe_load((ROOT / "deploy/batch/seldon.yaml").read_text(encoding="utf-8"))["spec"]
TEXTS = [f"the {word} film" for word in ("good", "bad", "dull", "bright", "long")] * 8


def process(service: Service, path: Path, output: Path, transport: str, *options: str) -> None:
    """Run the command of the workflow, with its parameters and with others behind."""
    port = service.http if transport == "rest" else service.grpc
    values = {entry["name"]: entry["value"] for entry in WORKFLOW["arguments"]["parameters"]}
    values |= {"host": f"127.0.0.1:{port}", "transport": transport}
    values |= {"input": str(path), "output": str(output)}
    container = WORKFLOW["templates"][0]["container"]
    arguments = [
        re.sub(r"{{workflow\.parameters\.([\w-]+)}}", lambda found: values[found[1]], argument)
        for argument in container["args"]
    ]
    [program] = container["command"]
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments, *options],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr


def read(output: Path) -> list[dict[str, Any]]:
    """The answers in the order of the texts: the command writes them as they come."""
    answers = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return sorted(answers, key=lambda answer: int(answer["meta"]["tags"]["batch_index"]))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_texts_in_small_batches_get_the_scores_of_the_tool(
    service: Service, tmp_path: Path, transport: str
) -> None:
    """One request for 16 texts; each answer has its place and the model's version."""
    path, output, local = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "local.jsonl"))
    path.write_text("".join(json.dumps([text]) + "\n" for text in TEXTS))
    process(service, path, output, transport)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    score(tmp_path / "in.txt", local, open_artifact(DEFAULT_MODEL), Settings())
    expected = [json.loads(line) for line in local.read_text().splitlines()]
    answers = read(output)
    assert len(TEXTS) == len(answers)
    for row, answer in zip(expected, answers, strict=True):
        [scores] = answer["data"]["ndarray"]
        assert [row["probability_negative"], row["probability_positive"]] == [
            round(float(value), 6) for value in scores
        ]
        assert open_artifact(DEFAULT_MODEL).version == answer["meta"]["tags"]["model_version"]


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_bad_text_alone_is_told_in_its_line(
    service: Service, tmp_path: Path, transport: str
) -> None:
    """With one text a request nothing else fails with it; in a batch all of it would."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('"good film"\n" "\n"bad film"\n')
    process(service, path, output, transport, "--data-type=str", "--batch-size=1")
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert 3 == len(answers)
    failed = [
        answer
        for answer in answers
        if "status" in answer and answer["status"].get("info") == "FAILURE"
    ]
    assert 1 == len(failed)
    assert 1 == failed[0]["meta"]["batch_index"]
