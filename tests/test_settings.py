"""Settings: where a value comes from, and what stops the start."""

from __future__ import annotations

import dataclasses

import pytest

from roberta_sentiment.errors import SettingsError
from roberta_sentiment.settings import Settings


def test_defaults_are_complete() -> None:
    """A deployment without any parameter must start."""
    assert Settings() == Settings.read({}, {})


def test_parameter_wins_over_variable() -> None:
    """The graph is what an operator looks at, so its value must hold."""
    environ = {"SENTIMENT_MAX_TEXTS": "7"}
    assert Settings.read({"max_texts": 5}, environ).max_texts == 5
    assert Settings.read({}, environ).max_texts == 7


def test_model_uri_has_the_name_that_other_servers_use() -> None:
    """MODEL_URI is what people set by habit; the prefixed name wins over it."""
    assert Settings.read({}, {"MODEL_URI": "/a"}).model_uri == "/a"
    both = {"MODEL_URI": "/a", "SENTIMENT_MODEL_URI": "/b"}
    assert Settings.read({}, both).model_uri == "/b"


@pytest.mark.parametrize(
    ("parameters", "environ", "words"),
    [
        pytest.param({"max_text": 5}, {}, "'max_text'; did you mean max_texts?", id="typo"),
        pytest.param({"zzz": 5}, {}, "known are model_uri", id="unknown"),
        pytest.param({}, {"SENTIMENT_MAX_TEXT": "5"}, "did you mean max_texts?", id="env-typo"),
        pytest.param({"max_texts": 0}, {}, "max_texts is 0; the least allowed is 1", id="low"),
        pytest.param({"threads": 5000}, {}, "the most allowed is 1024", id="high"),
        pytest.param({"max_texts": "many"}, {}, "'many'; a whole number", id="word"),
        pytest.param({"max_texts": 1.5}, {}, "1.5; a whole number", id="fraction"),
        pytest.param({"max_texts": True}, {}, "True; a whole number", id="bool"),
        pytest.param({"max_texts": None}, {}, "None; a whole number", id="none"),
        pytest.param({"max_texts": float("inf")}, {}, "a whole number", id="infinite"),
        pytest.param({"truncation": "middel"}, {}, "allowed are end, start, middle", id="choice"),
        pytest.param({"model_uri": 5}, {}, "model_uri is 5; a text is needed", id="not-text"),
        pytest.param(
            {"max_tokens": 64, "window_overlap": 62},
            {},
            "smaller by at least 3",
            id="contradiction",
        ),
    ],
)
def test_nonsense_stops_the_start(
    parameters: dict[str, object], environ: dict[str, str], words: str
) -> None:
    """A setting that is silently ignored or bent is found out in production only."""
    with pytest.raises(SettingsError, match=None) as caught:
        Settings.read(parameters, environ)
    assert words in str(caught.value)


def test_whole_floats_and_texts_become_numbers() -> None:
    """Manifests carry strings, and a type of FLOAT is an easy slip."""
    assert Settings.read({"max_texts": 8.0}, {}).max_texts == 8
    assert Settings.read({"max_texts": "8"}, {}).max_texts == 8


def test_settings_are_frozen() -> None:
    """Worker processes and threads share the object."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().max_texts = 5  # type: ignore[misc]
