"""Ctrl-C: a sentence and the shell's exit code, and no thread is killed in a run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PROGRAM = """
import signal
from roberta_sentiment.classifier import Classifier

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
classify = Classifier.classify

def classify_loudly(self, texts, *rest):
    print("scoring", flush=True)
    return classify(self, texts, *rest)

Classifier.classify = classify_loudly
from roberta_sentiment.__main__ import main
from tests import ROOT
main()
"""
SENTENCE = "The first hour is slow and the second more than makes up for it. " * 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ["score", "{0}/a.csv", "{0}/out.csv", "--prefix", "x_"],
            "run the same command again to resume", id="score"
        ),
        pytest.param(
            ["evaluate", "{0}/a.csv", "--json", "{0}/out.json"],
            "nothing was written", id="evaluate",
        ),
    ],
)  # fmt: skip
def test_an_interrupt_ends_a_run_cleanly(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """A thread that runs the model while the interpreter ends would abort the process."""
    rows = "".join(f"{i % 2},{SENTENCE}\n" for i in range(4000))
    (tmp_path / "a.csv").write_text(f"label,text\n{rows}")
    command = [sys.executable, "-c", PROGRAM, *(part.format(tmp_path) for part in arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for _ in range(3):
            assert "scoring\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert 130 == process.returncode, errors
    assert f"interrupted; {sentence}" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out.json").exists()
