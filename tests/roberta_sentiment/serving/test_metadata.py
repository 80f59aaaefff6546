"""/metadata and the log give the settings in force, not a default that stands for another value."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from baselines.lexicon.Lexicon import Lexicon
from Model import Model
from roberta_sentiment import container
from roberta_sentiment.settings import Settings


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def custom(path: Path, **parameters: Any) -> dict[str, str]:
    """What is custom in the metadata of a node."""
    node = Model(model_uri=str(path), window_overlap=8, **parameters)
    found: dict[str, str] = node.init_metadata()["custom"]
    return found


def test_defaults_show_the_values_in_force(
    toy_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 threads and 0 tokens mean the machine's and the model's; a reader must not have to know."""
    monkeypatch.setattr(container, "available_cpus", lambda: 3)
    shown = custom(toy_path)
    assert ("3", "32") == (shown["threads"], shown["max_tokens"])
    (line,) = (record.getMessage() for record in log.records if "in force" in record.message)
    for words in ("'threads': 3", "'max_tokens': 32", "'model_name': 'toy'", str(toy_path)):
        assert words in line


def test_what_was_set_is_shown(toy_path: Path) -> None:
    """The counterpart."""
    shown = custom(toy_path, threads=2, max_tokens=16, max_queue=7, truncation="middle")
    assert ("2", "16", "7", "middle") == tuple(
        shown[name] for name in ("threads", "max_tokens", "max_queue", "truncation")
    )


def test_cpus_that_are_not_exclusive_are_not_reported_so(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is ignored with a warning where others run on the same CPUs."""
    monkeypatch.setattr("Model.serving_cpus", lambda **_: None)
    assert "false" == custom(toy_path, exclusive_cpus=True)["exclusive_cpus"]


def test_every_setting_is_shown_but_where_the_files_are(toy_path: Path) -> None:
    """A new setting shows by itself; a caller learns no path of the server."""
    shown = custom(toy_path)
    names = set(Settings.__dataclass_fields__) - {"model_uri", "model_name"}
    assert names <= set(shown)
    assert not any(str(toy_path) in value for value in shown.values())
    assert "" not in {shown[name] for name in names}


def test_a_baseline_logs_its_name_and_only_its_settings(log: pytest.LogCaptureFixture) -> None:
    """It has neither threads nor tokens."""
    Lexicon()
    (line,) = (record.getMessage() for record in log.records if "in force" in record.message)
    assert "'model_name': 'vader-lexicon'" in line
    assert "threads" not in line
