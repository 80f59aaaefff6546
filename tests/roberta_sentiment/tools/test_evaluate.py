"""`evaluate`: figures that can be worked out by hand, and a report that stands alone."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from roberta_sentiment.errors import DataError, StartError
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.evaluate.cli import command
from roberta_sentiment.tools.evaluate.run import evaluate
from tests import ROOT, toy

SETTINGS = Settings(threads=1, window_overlap=8)
ROWS = [
    ("good film", 1),
    ("so good good", 1),
    ("bad", 0),
    ("the film is bad bad", 0),
    ("bad good bad", 1),
    ("good " * 29 + "good good", 0),
]
E1, E2, E30 = (1 / (1 + math.exp(-logit)) for logit in (1, 2, 30))
"""Scores of the toy for one, two and thirty words more of one kind."""


def write_rows(path: Path, names: bool = False) -> Path:
    """`ROWS` as the suffix asks for; labels are names or numbers."""
    rows = [(toy.LABELS[label] if names else label, text) for text, label in ROWS]
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": text, "label": label}) for label, text in rows]
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [f"label{mark}text", *(f"{label}{mark}{text}" for label, text in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def variant(directory: Path, edit: Any, labels: tuple[str, ...] = toy.LABELS) -> Artifact:
    """The toy with other numbers for its tokens, or other names of its labels.

    Args:
        directory: is made.
        edit: gives the new (tokens, 2) table for the old.
        labels: names of the classes.
    """
    toy.write(directory)
    model = onnx.load(str(directory / "model.onnx"))
    [table] = [t for t in model.graph.initializer if t.name == "table"]
    table.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(table).copy()), "table"))
    onnx.save(model, str(directory / "model.onnx"))
    config = json.loads((directory / "config.json").read_text())
    config["id2label"] = dict(enumerate(labels))
    (directory / "config.json").write_text(json.dumps(config))
    return open_artifact(directory)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("names", [True, False], ids=["names", "numbers"])
def test_a_model_is_judged(tmp_path: Path, toy_artifact: Artifact, name: str, names: bool) -> None:
    """The same figures from every kind of file, and they can be counted."""
    path = write_rows(tmp_path / name, names)
    got = evaluate(path, toy_artifact, SETTINGS, latency_texts=4)
    model = got.model
    assert ((2, 1), (1, 2)) == model.quality.confusion
    assert (4 / 6, 1) == (model.quality.accuracy, model.truncated)
    right = np.array([E1, E2, E1, E2]), np.array([1 - E1, 1 - E30])
    brier = (((1 - right[0]) ** 2).sum() + ((1 - right[1]) ** 2).sum()) / 6
    assert brier == pytest.approx(model.quality.brier)
    assert (4 + 5 + 3 + 7 + 5 + 33, 33) == (model.tokens.total, model.tokens.most)
    assert 4.5 + 0.5 == model.tokens.p50
    assert 4 == model.latency.texts
    assert 0 < model.latency.p50 <= model.latency.p90 <= model.latency.p99
    assert model.texts_per_second > 0
    assert got.other is None
    assert [(6, "positive", "negative"), (5, "negative", "positive")] == [
        (mistake.number, mistake.label, mistake.truth) for mistake in got.mistakes
    ]
    assert [E30, E1] == pytest.approx([mistake.score for mistake in got.mistakes])


def test_columns_of_any_name_are_read(
    tmp_path: Path, toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each company has its own."""
    path = tmp_path / "a.csv"
    path.write_text("body;stars\ngood film;pos\nbad;1.0\n")
    command(path, toy_path, text_column="body", label_column="stars", threads=1)
    assert "accuracy 50.0%" in " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())


def test_the_second_model_is_compared_text_by_text(tmp_path: Path, toy_artifact: Artifact) -> None:
    """A model for which a film is a bad thing; the texts that it sees otherwise are named."""

    def film_is_bad(table: Any) -> Any:
        table[toy.vocabulary()["Ġfilm"], 0] = 3
        return table

    other = variant(tmp_path / "other", film_is_bad)
    path = write_rows(tmp_path / "a.tsv")
    got = evaluate(path, toy_artifact, SETTINGS, other=other)
    assert got.comparison
    assert got.other
    assert (3, 1, 0, 2) == (
        got.comparison.both_right,
        got.comparison.only_first,
        got.comparison.only_second,
        got.comparison.both_wrong,
    )
    [flip] = got.flips
    assert (1, "good film", "positive") == (flip.number, flip.text, flip.truth)
    assert ("positive", "negative") == (flip.label, flip.other_label)
    assert [E1, E2] == pytest.approx([flip.score, flip.other_score])
    assert ("toy", "other") == (got.model.name, got.other.name)


def test_models_with_their_labels_in_another_order_are_compared(
    tmp_path: Path, toy_artifact: Artifact
) -> None:
    """Many published models count from positive; comparing columns would flip every text."""
    other = variant(
        tmp_path / "toy",
        lambda table: np.ascontiguousarray(table[:, ::-1]),
        ("POSITIVE", "Negative"),
    )
    got = evaluate(write_rows(tmp_path / "a.tsv"), toy_artifact, SETTINGS, other=other)
    assert got.comparison
    assert got.other
    assert () == got.flips
    assert got.model.quality == got.other.quality
    assert ("Negative", "POSITIVE") == got.other.labels
    assert (f"toy {toy_artifact.version}", f"toy {other.version}") == (
        got.model.name,
        got.other.name,
    )


def test_models_with_other_labels_are_not_compared(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Nothing says which of them belong together."""
    other = variant(tmp_path / "other", lambda table: table, ("LABEL_0", "LABEL_1"))
    path = write_rows(tmp_path / "a.tsv")
    with pytest.raises(DataError, match=r"LABEL_0, LABEL_1; --label-map FROM=TO"):
        evaluate(path, toy_artifact, SETTINGS, other=other)


def test_other_labels_are_compared_by_a_map(tmp_path: Path, toy_artifact: Artifact) -> None:
    """The same map reads the file, whose names may be a third kind."""
    other = variant(tmp_path / "other", lambda table: table, ("LABEL_0", "LABEL_1"))
    path = tmp_path / "a.tsv"
    path.write_text("label\ttext\ngood\tgood film\nbad\tbad film\n", encoding="utf-8")
    names = {"LABEL_0": "negative", "LABEL_1": "positive", "good": "positive", "bad": "negative"}
    got = evaluate(path, toy_artifact, SETTINGS, other=other, label_map=names)
    assert () == got.flips
    assert 1.0 == got.model.quality.accuracy


def test_a_text_that_can_not_be_scored_is_named(tmp_path: Path, toy_artifact: Artifact) -> None:
    """A figure over the rest would not be the figure that was asked for."""
    path = write_rows(tmp_path / "a.tsv")
    with pytest.raises(DataError, match="after number 0: text 5 has 33 tokens"):
        evaluate(path, toy_artifact, Settings(truncation="error"))


class Links(HTMLParser):
    """Collects tags and whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data")]


def test_the_files_hold_everything_and_need_nothing(
    tmp_path: Path, toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON with checksums and versions, and one HTML file with the picture in it."""
    path = tmp_path / "a.jsonl"
    rows: list[dict[str, Any]] = [
        {"text": "good <script>alert(1)</script> film", "label": "positive"},
        {"text": "bad", "label": 0},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    all_good = variant(tmp_path / "other", lambda table: 0 * table)
    html_file, json_file = tmp_path / "out.html", tmp_path / "out.json"
    command(path, toy_path, all_good.path, json_file=json_file, html_file=html_file, threads=1)

    content = json.loads(json_file.read_text())
    assert sha256_of(toy_path / "model.onnx") == content["model"]["sha256"]
    assert all_good.sha256 == content["compare"]["model"]["sha256"]
    assert sha256_of(path) == content["data"]["sha256"]
    assert 1 == content["model"]["quality"]["accuracy"]
    assert {"onnxruntime", "scikit-learn", "statsmodels"} <= content["versions"].keys()
    assert {"processor", "cpus", "features", "system"} == content["machine"].keys()
    assert [rows[0]["text"]] == [flip["text"] for flip in content["compare"]["flips"]]
    assert str(tmp_path) not in json_file.read_text() + html_file.read_text()

    html = html_file.read_text(encoding="utf-8")
    found = Links()
    found.feed(html)
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert not {"script", "link", "iframe"}.intersection(found.tags)
    assert "good &lt;script&gt;" in html
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    words = {
        text.text
        for picture in pictures
        for text in ElementTree.fromstring(picture).iter()  # noqa: S314  our own picture
        if text.tag.endswith("text")
    }
    assert {"predicted", "right", "wrong", "negative", "neither right"} <= words

    table = " ".join(capsys.readouterr().out.split())
    assert "1 texts with another label: text 1 (positive): positive" in table
    assert "0 wrong, surest first" in table
    assert "toy is right on 2 of 2 texts: 100.0%" in table
    assert ["out.html", "out.json"] == sorted(p.name for p in tmp_path.glob("*out.*"))


@pytest.mark.parametrize(
    ("missing", "name"),
    [("sklearn.metrics", "sklearn"), ("matplotlib.figure", "matplotlib"), ("jinja2", "jinja2")],
)
def test_a_missing_library_is_named_before_any_work(
    tmp_path: Path, toy_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, name: str
) -> None:
    """The server's image has none of them."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(
        "roberta_sentiment.tools.evaluate.run.load_classifier", lambda *_: pytest.fail("too late")
    )
    path = write_rows(tmp_path / "a.tsv")
    with pytest.raises(StartError, match=rf"needs {name}.*pip install '\.\[tools\]"):
        command(path, toy_path, html_file=tmp_path / "out.html")


def test_the_command_starts_without_the_libraries() -> None:
    """`predict` is in the same program, and the server has no matplotlib."""
    code = (
        "import sys\n"
        "for name in ('sklearn', 'statsmodels', 'matplotlib', 'jinja2', 'pandas', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "import roberta_sentiment.tools.evaluate, roberta_sentiment.tools.score\n"
        "import roberta_sentiment.tools.score.run, roberta_sentiment.tools.metrics\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_report_that_can_not_be_written_is_refused_at_once(
    tmp_path: Path, toy_path: Path
) -> None:
    """Not after an hour of scoring."""
    path = write_rows(tmp_path / "a.tsv")
    with pytest.raises(DataError, match=r"directory of .* does not exist"):
        command(path, toy_path, json_file=tmp_path / "none" / "out.json")


def test_a_label_map_to_a_label_of_another_model_is_refused_at_once(
    tmp_path: Path, toy_path: Path
) -> None:
    """Before a text is scored, with the labels of this one."""
    path = write_rows(tmp_path / "a.tsv")
    with pytest.raises(
        DataError, match="--label-map: 'good' is not a label; labels are negative, pos"
    ):
        command(path, toy_path, label_map="LABEL_1=good")
