"""A CPU without VNNI, emulated: int8 models answer what they answer on this one."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.labelled import Labelled
from roberta_sentiment.tools.quantize import quantize
from roberta_sentiment.tools.tolerance import batch_tolerance
from tests import ROOT, eight_bits, emulated, zoo

QEMU = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
LIMIT_S = 900
LOGIT = 0.01
"""Most that a logit may differ from one CPU to another."""
TEXTS = [
    f"{opening} {subject} is {what}{ending}"
    for opening, ending in (
        ("Frankly,", "."),
        ("", " and too long, as we all said!"),
    )
    for subject in ("this film", "the second act", "her performance")
    for what in ("a joy", "dull", "not bad at all", "worse than I feared")
]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed (apt: qemu-user)"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="this Python is not for x86-64"),
]


def emulate(*words: str, stdin: str = "") -> str:
    """Run Python with these arguments on an emulated CPU that has AVX2 and no AVX-512."""
    done = subprocess.run(
        [str(QEMU), "-cpu", "max", sys.executable, *words],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        timeout=LIMIT_S,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The default model, one quantised now, and files of ONNX Runtime's own quantiser."""
    directory = tmp_path_factory.mktemp("models")
    fp32 = open_artifact(zoo.write(directory / "fp32"))
    best = load_classifier(fp32, Settings()).classify(TEXTS).best
    labels = [fp32.labels.index(label) for label in best]
    quantize(fp32, directory / "int8", Labelled(TEXTS, labels), TEXTS, max_drop=100)
    return {
        "texts": TEXTS,
        "models": [str(DEFAULT_MODEL), str(directory / "int8")],
        "tokens": eight_bits.TOKENS.tolist(),
        "graphs": [
            str(eight_bits.write(directory, kind, opset))
            for kind in eight_bits.KINDS
            for opset in eight_bits.OPSETS
        ],
    }


@pytest.fixture(scope="module")
def found(asked: dict[str, Any]) -> dict[str, Any]:
    """What the emulated CPU answers."""
    answer: dict[str, Any] = json.loads(emulate("-m", "tests.emulated", stdin=json.dumps(asked)))
    return answer


def test_the_emulated_cpu_is_recognised(found: dict[str, Any]) -> None:
    """Not as the kernel of this machine lists it: files optimised for one are not for the other."""
    assert {"x86_64", "avx", "avx2"} == set(found["features"])
    assert not found["has_exact_int8_dot"]


def test_models_answer_as_on_this_cpu(found: dict[str, Any], asked: dict[str, Any]) -> None:
    """The embedded model and a freshly quantised one, alone and in a batch."""
    native = emulated.answer({**asked, "graphs": []})
    for here, there in zip(native["models"], found["models"], strict=True):
        np.testing.assert_allclose(here["alone"], there["alone"], atol=LOGIT)
        np.testing.assert_allclose(
            there["alone"][: emulated.TOGETHER], there["together"], atol=batch_tolerance("int8")
        )


def test_files_of_other_quantisers_are_exact(found: dict[str, Any]) -> None:
    """Every form that users bring."""
    for logits in found["graphs"]:
        np.testing.assert_allclose(eight_bits.EXACT, logits, atol=eight_bits.TOLERANCE)
