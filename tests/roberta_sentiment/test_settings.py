"""Settings: where a value comes from, and what aborts startup."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roberta_sentiment.errors import SettingsError
from roberta_sentiment.settings import SERVICE_LINK, Settings, misspelt
from tests.rehearsal.kubelet import recorded, service_links

OURS = [f"SENTIMENT_{field.name.upper()}" for field in dataclasses.fields(Settings)]
PORT_NAMES = st.sampled_from(["", "http", "grpc", "max-texts", "threads", "port"])
SERVICES = st.builds(
    lambda end, ports: {
        "metadata": {"name": f"sentiment{end}"},
        "spec": {"ports": [{"port": n, "name": name} for n, name in ports.items()]},
    },
    st.sampled_from(["", *(f"-{f.name.replace('_', '-')}" for f in dataclasses.fields(Settings))])
    | st.from_regex(r"-[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True),
    st.dictionaries(st.integers(1, 65535), PORT_NAMES, min_size=1, max_size=3),
)


def test_defaults_are_complete() -> None:
    """A deployment without any parameter must start."""
    assert Settings() == Settings.read({}, {})


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CUDA", "cuda:0,1", ""])
def test_an_unknown_device_is_refused(device: str) -> None:
    """It must not be taken for the CPU."""
    with pytest.raises(SettingsError, match="allowed are cpu, cuda, cuda:0"):
        Settings(device=device)


def test_half_precision_is_for_gpus() -> None:
    """On a CPU it would be slower, and the server would not do what the words say."""
    with pytest.raises(SettingsError, match="precision is fp16 but device is cpu"):
        Settings(device="cpu", precision="fp16")


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
def test_nonsense_aborts_startup(
    parameters: dict[str, object], environ: dict[str, str], words: str
) -> None:
    """A setting that is silently ignored or bent is found out in production only."""
    with pytest.raises(SettingsError, match=None) as caught:
        Settings.read(parameters, environ)
    assert words in str(caught.value)


@given(st.lists(SERVICES, min_size=1, max_size=3))
def test_no_service_is_a_setting(services: list[dict[str, Any]]) -> None:
    """Kubernetes puts every Service of the namespace into the environment, whatever its name."""
    links = service_links(services)
    assert Settings() == Settings.read({}, links)
    assert {} == misspelt(links)


@pytest.mark.parametrize("manifest", recorded())
def test_recorded_links_are_no_settings(manifest: str) -> None:
    """By the kubelet's own code."""
    assert Settings() == Settings.read({}, recorded()[manifest])
    assert {} == misspelt(recorded()[manifest])


@pytest.mark.parametrize("variable", ["MODEL_URI", "PREPARE_SECONDS", *OURS])
def test_no_setting_looks_like_a_link(variable: str) -> None:
    """Or a Service of the right name would set it."""
    assert SERVICE_LINK.search(variable) is None


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        pytest.param("SENTIMENT_MAX_TEXT", "SENTIMENT_MAX_TEXTS", id="letter"),
        pytest.param("SENTIMENT_TRUNCATE", "SENTIMENT_TRUNCATION", id="word"),
        pytest.param("SENTIMENT_NUM_THREADS", "SENTIMENT_THREADS", id="longer"),
        pytest.param("SENTIMENT_MODEL_URL", "SENTIMENT_MODEL_URI", id="uri"),
        pytest.param("SENTIMENT_threads", "SENTIMENT_THREADS", id="small-letters"),
        pytest.param("SENTIMENTS_MAX_TOKENS", "SENTIMENT_MAX_TOKENS", id="prefix"),
    ],
)
def test_a_misspelling_is_named(variable: str, near: str) -> None:
    """It stops nothing, because the environment belongs to the cluster."""
    assert Settings() == Settings.read({}, {variable: "5"})
    assert {variable: near} == misspelt({variable: "5"})


@pytest.mark.parametrize("variable", ["SENTIMENT_ANALYSIS", "SENTIMENT", "SENTIMENT_", *OURS])
def test_what_is_no_misspelling(variable: str) -> None:
    """Somebody else's variable, or a name that is right."""
    assert {} == misspelt({variable: "5"})


def test_whole_floats_and_texts_become_numbers() -> None:
    """Manifests carry strings, and a type of FLOAT is an easy mistake."""
    assert Settings.read({"max_texts": 8.0}, {}).max_texts == 8
    assert Settings.read({"max_texts": "8"}, {}).max_texts == 8


def test_settings_are_frozen() -> None:
    """Worker processes and threads share the object."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().max_texts = 5  # type: ignore[misc]
