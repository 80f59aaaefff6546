"""before-run: the file it makes is the one the server opens, and it never stops a start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.model.derived import open_prepared
from seldon_node.prepare import model_to_serve
from tests import ROOT, toy
from tests.rehearsal.kubelet import recorded

HOOK = ROOT / "before-run"


def run(tmp: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The hook as the image runs it, with a temporary directory of its own."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}", "TMPDIR": str(tmp), "HOME": str(tmp),
        "PREPARE_SECONDS": "60", "PYTHONDONTWRITEBYTECODE": "1", **variables,
    }  # fmt: skip
    return subprocess.run([HOOK], cwd=ROOT, env=environment, capture_output=True, text=True)


def entries(tmp: Path) -> list[str]:
    return sorted(path.name for path in tmp.glob("roberta-sentiment-*/*"))


def test_the_server_finds_what_the_hook_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where nobody looks would cost time and give nothing."""
    model = toy.write(tmp_path / "model")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert "original" == open_prepared(open_artifact(model), threads=1).kind
    done = run(tmp_path, MODEL_URI=str(model), SENTIMENT_WINDOW_OVERLAP="8")
    assert 0 == done.returncode, done.stderr
    assert "optimized" == open_prepared(open_artifact(model), threads=1).kind


def test_a_second_start_makes_nothing_again(tmp_path: Path) -> None:
    """A container that starts again in its pod still has /tmp."""
    variables = {"MODEL_URI": str(toy.write(tmp_path / "model")), "SENTIMENT_WINDOW_OVERLAP": "8"}
    first = run(tmp_path, **variables)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.*")}
    assert first.stderr == run(tmp_path, **variables).stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.*")}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param({"MODEL_URI": "/nowhere"}, "/nowhere does not exist", id="no-model"),
        pytest.param({"PREDICTIVE_UNIT_PARAMETERS": "nonsense"}, "not valid JSON", id="no-json"),
        pytest.param({"PREDICTIVE_UNIT_PARAMETERS": "[5]"}, "a parameter is 5", id="no-object"),
        pytest.param({"SENTIMENT_MAX_TEXTS": "x"}, "a whole number is needed", id="no-number"),
        pytest.param({"PREPARE_SECONDS": "0.01"}, "is '0.01'; a whole", id="no-whole-number"),
    ],
)
def test_it_never_stops_a_start(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    """s2i aborts on a hook that fails; the server itself says what is wrong, and better."""
    done = run(tmp_path, **variables)
    assert 0 == done.returncode
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_service_links_stop_nothing(tmp_path: Path) -> None:
    """Of the Services that the operator makes, and of one that is named like a setting."""
    links = {**recorded()["deployment.yaml"], "SENTIMENT_THREADS_PORT": "tcp://10.0.0.1:80"}
    model = toy.write(tmp_path / "model")
    done = run(tmp_path, MODEL_URI=str(model), SENTIMENT_WINDOW_OVERLAP="8", **links)
    assert done.stderr.startswith("prepared: ")


def test_nothing_is_prepared_for_a_gpu(tmp_path: Path) -> None:
    """The file is for CPUs, and would cost every start its time."""
    done = run(tmp_path, SENTIMENT_DEVICE="cuda:1")
    assert (0, []) == (done.returncode, entries(tmp_path))
    assert "not prepared: the model runs on a GPU" in done.stderr


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    """Preparing takes memory and time, which a start may lack."""
    done = run(tmp_path, PREPARE_SECONDS="0")
    assert (0, "", []) == (done.returncode, done.stderr, entries(tmp_path))


def test_it_gives_up_in_time(tmp_path: Path) -> None:
    """The startup probe's patience ends; half a file must not stay behind."""
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    slow.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run(tmp_path, PREPARE_SECONDS="1", PATH=path)
    assert (0, []) == (done.returncode, entries(tmp_path))
    assert "no file was prepared (limit 1 s)" in done.stderr


@pytest.mark.parametrize(
    ("parameters", "environ", "expected"),
    [
        pytest.param([], {}, DEFAULT_MODEL, id="embedded"),
        pytest.param([], {"MODEL_URI": "TOY"}, "TOY", id="variable"),
        pytest.param([("model_uri", "TOY")], {"MODEL_URI": "/x"}, "TOY", id="parameter"),
        pytest.param([("max_texts", "8")], {}, DEFAULT_MODEL, id="another-parameter"),
    ],
)
def test_it_prepares_the_model_that_is_served(
    toy_path: Path, parameters: list[tuple[str, str]], environ: dict[str, str], expected: object
) -> None:
    """Another model's file would be made for nothing."""
    listed = [{"name": n, "type": "STRING", "value": v} for n, v in parameters]
    raw = json.dumps(listed).replace("TOY", str(toy_path))
    given = {name: value.replace("TOY", str(toy_path)) for name, value in environ.items()}
    found = model_to_serve({**given, "PREDICTIVE_UNIT_PARAMETERS": raw})
    assert (toy_path if expected == "TOY" else expected) == found.path


def test_onnx_runtime_reports_nothing(tmp_path: Path) -> None:
    """Its telemetry is on by default, and keeps a device id and a queue in the home directory."""
    model = toy.write(tmp_path / "model") / "model.onnx"
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from pathlib import Path; from roberta_sentiment.run.session import open_session; "
        f"open_session(Path({str(model)!r}), threads=1)"
    )
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, check=True)
    assert [] == list(home.iterdir())
