"""What the wrapper would fail on before it reaches our class: one sentence each."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seldon_core import microservice

from roberta_sentiment.errors import SettingsError
from seldon_node import preflight
from tests.rehearsal.kubelet import recorded
from tests.service import Service

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["abc", "1.5", "nan", "inf", "yes", "maybe", "1" * 5000]), st.just([]),
)  # fmt: skip
SHAPES = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(["name", "type", "value", "extra"]), VALUES),
    st.fixed_dictionaries(
        {"name": st.text(max_size=8), "value": VALUES},
        optional={"type": st.sampled_from([*preflight._TYPES, "int", "OBJECT", ""])},
    ),
)


def given_as(*listed: Any) -> dict[str, str]:
    return {preflight.PARAMETERS: json.dumps(listed)}


def parameter(name: object, kind: object, value: object) -> dict[str, object]:
    return {"name": name, "type": kind, "value": value}


WRONG_PARAMETERS = [
    pytest.param(
        given_as(parameter("n", "INT", "abc")), "'n' is 'abc', which is not of type INT", id="int"
    ),
    pytest.param(given_as(parameter("n", "INT", "1.5")), "which is not of type INT", id="fraction"),
    pytest.param(
        given_as(parameter("n", "INT", "9" * 5000)), "which is not of type INT", id="huge"
    ),
    pytest.param(
        given_as(parameter("n", "FLOAT", "0,5")), "which is not of type FLOAT", id="float"
    ),
    pytest.param(given_as(parameter("n", "BOOL", "maybe")), "which is not of type BOOL", id="bool"),
    pytest.param(given_as(parameter("n", "int", "5")), "type 'int'; allowed are INT", id="small"),
    pytest.param(given_as(parameter("n", "STR", "5")), "type 'STR'; allowed", id="unknown-type"),
    pytest.param(given_as(parameter("n", 5, "5")), "needs a text as type", id="number-as-type"),
    pytest.param(given_as(parameter(5, "INT", "5")), "needs a text as name", id="number-as-name"),
    pytest.param(given_as({"name": "n", "value": "5"}), "needs a text as type", id="no-type"),
    pytest.param(given_as({"name": "n", "type": "INT"}), "needs a text as value", id="no-value"),
    pytest.param(given_as({"type": "INT", "value": "5"}), "needs a text as name", id="no-name"),
    pytest.param(given_as(parameter("n", "STRING", None)), "'n' is null", id="null-as-value"),
    pytest.param(given_as(parameter("n", "STRING", ["a"])), "'n' is [\"a\"]", id="list-as-value"),
    pytest.param(given_as(5), "a parameter is 5; an object", id="no-object"),
    pytest.param(given_as(*[parameter("n", "INT", "5")] * 2), "'n' is given twice", id="twice"),
    pytest.param({preflight.PARAMETERS: '{"max_texts": 5}'}, "a list of", id="no-list"),
    pytest.param({preflight.PARAMETERS: "null"}, "is null; a list of", id="null"),
    pytest.param({preflight.PARAMETERS: ""}, "is not valid JSON", id="empty"),
    pytest.param({preflight.PARAMETERS: '[{"name"'}, "is not valid JSON", id="cut"),
    pytest.param({preflight.PARAMETERS: "[" * 99_999}, "nested too deeply", id="deep"),
]
WRONG_VARIABLES = [
    pytest.param({"GUNICORN_WORKERS": "abc"}, "a whole number is needed", id="word"),
    pytest.param({"GUNICORN_WORKERS": ""}, "a whole number is needed", id="no-word"),
    pytest.param({"GUNICORN_WORKERS": "0"}, "allowed are 1 to", id="no-worker"),
    pytest.param({"GUNICORN_THREADS": "0"}, "allowed are 1 to", id="no-thread"),
    pytest.param({"GUNICORN_KEEPALIVE": "-1"}, "allowed are 0 to", id="keepalive"),
    pytest.param({"GUNICORN_MAX_REQUESTS": "many"}, "a whole number", id="max-requests"),
    pytest.param({"GRPC_WORKERS": "x"}, "a whole number is needed", id="grpc-workers"),
    pytest.param({"GRPC_WORKERS": "-1"}, "allowed are 0 to", id="fewer-than-none"),
    pytest.param({"GRPC_THREADS": "0"}, "allowed are 1 to", id="grpc-threads"),
    pytest.param({"TRACING": "yes"}, "a whole number is needed", id="tracing"),
    pytest.param({"TRACING": "1", "JAEGER_AGENT_PORT": "udp"}, "a whole number", id="jaeger-port"),
    pytest.param({"TRACING": "1", "JAEGER_CONFIG_PATH": "/no/where"}, "no file", id="jaeger-file"),
    pytest.param({"WEB_CONCURRENCY": "auto"}, "a whole number is needed", id="gunicorn-s-own"),
    pytest.param({"SELDON_LOG_LEVEL": "debug"}, "allowed are DEBUG", id="log-level"),
    *(pytest.param({name: "tcp://10.0.0.1:80"}, "a whole number", id=f"{server}-port")
      for server, name in preflight.PORTS.items()),
    *(pytest.param({name: "65536"}, "allowed are 1 to 65535", id=f"{server}-high-port")
      for server, name in preflight.PORTS.items()),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "words"), [*WRONG_PARAMETERS, *WRONG_VARIABLES])
def test_it_gets_a_sentence(environ: dict[str, str], words: str) -> None:
    """It says what is wrong, where, and what is right."""
    with pytest.raises(SettingsError) as caught:
        preflight.check(environ)
    assert words in caught.value.message
    assert len(caught.value.message) <= 300
    assert caught.value.message.isprintable()


@given(st.lists(SHAPES, max_size=3) | SHAPES)
def test_what_passes_is_what_the_wrapper_makes(listed: Any) -> None:
    """Nothing gets past that the wrapper can't read, and nothing is read otherwise."""
    try:
        parsed = preflight.parameters({preflight.PARAMETERS: json.dumps(listed)})
    except SettingsError as error:
        assert len(error.message) <= 300
        return
    assert repr(microservice.parse_parameters(listed)) == repr(parsed)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param('seldon.io/rest-timeout="1s"', "rest-timeout is '1s'; a whole", id="unit"),
        pytest.param('seldon.io/rest-timeout="-1"', "rest-timeout is '-1'; allowed", id="low"),
        pytest.param('seldon.io/grpc-max-message-size="1Mi"', "is '1Mi'; a whole", id="size"),
        pytest.param('seldon.io/grpc-max-message-size="9999999999"', "to 2147483647", id="high"),
    ],
)
def test_an_annotation_gets_a_sentence(tmp_path: Path, line: str, words: str) -> None:
    """The executor wants them in the same form, and is as silent on what is wrong."""
    path = tmp_path / "annotations"
    path.write_text(f'prometheus.io/path="/prometheus"\n{line}', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        preflight.check({}, path)
    assert words in caught.value.message


def test_a_pod_s_own_pass(tmp_path: Path) -> None:
    """The kubelet's variables, and annotations that are not for the wrapper."""
    path = tmp_path / "annotations"
    path.write_text(
        'kubernetes.io/config.source="api"\nno-value\nprometheus.io/scrape="true"\n'
        'seldon.io/grpc-timeout="1s"\nseldon.io/rest-timeout="60000"',
        encoding="utf-8",
    )
    for links in recorded().values():
        preflight.check(links, path)
    path.write_bytes(b"\xff")
    preflight.check({}, path)


def test_one_service_has_a_port() -> None:
    """Whether the other listens or not, shares its port or not; a process of the same may join."""
    holder = preflight.reserve("gRPC", 0)
    port = holder.getsockname()[1]
    with pytest.raises(SettingsError, match=rf"gRPC port {port} can't be opened \(Address al"):
        preflight.reserve("gRPC", port)
    with socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("0.0.0.0", port))
        worker.listen()
        holder.close()
        with pytest.raises(SettingsError, match="PREDICTIVE_UNIT_METRICS_SERVICE_PORT sets"):
            preflight.reserve("metrics", port)
    preflight.reserve("gRPC", port).close()


def test_connections_of_a_former_service_do_no_harm() -> None:
    """A container that starts again in its pod finds them in TIME_WAIT for a minute."""
    with preflight.reserve("REST", 0) as former:
        port = former.getsockname()[1]
        with socket.socket() as listener:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                listener.setsockopt(socket.SOL_SOCKET, option, 1)
            listener.bind(("0.0.0.0", port))
            listener.listen()
            with socket.create_connection(("127.0.0.1", port)) as client:
                listener.accept()[0].close()
                assert b"" == client.recv(1)
    preflight.reserve("REST", port).close()


def last_line(service: Service) -> str:
    assert 0 < service.process.wait(60)
    assert "Traceback" not in service.log()
    return service.log().splitlines()[-1]


SERVED = [each for each in (*WRONG_PARAMETERS, *WRONG_VARIABLES) if each.id in (
    "int", "bool", "small", "no-type", "null", "cut", "deep", "word", "no-thread", "grpc-workers",
    "log-level", "gunicorn-s-own", "REST-port", "jaeger-file",
)]  # fmt: skip
"""One of each way in which the wrapper itself would end; each takes a process."""


@pytest.mark.parametrize(("environ", "words"), SERVED)
def test_the_log_ends_with_the_sentence(environ: dict[str, str], words: str) -> None:
    """Exit code not zero, and no stack trace of the wrapper."""
    with Service(**environ).launch() as service:
        line = last_line(service)
    assert line.startswith("cannot start: ")
    assert words in line


@pytest.mark.parametrize(
    ("interface", "environ", "words"),
    [
        pytest.param("Modle", {}, "No module named 'Modle'", id="module"),
        pytest.param("Model.Modle", {}, "no attribute 'Modle'", id="class"),
        pytest.param("Model", {"PREDICTOR_LABELS": "x"}, "JSONDecodeError", id="labels"),
        pytest.param("Model", {"PREDICTIVE_UNIT_PARAMETERS": json.dumps(
            [parameter("self", "STRING", "x")])}, "unknown parameter 'self'", id="self"),
    ],
)  # fmt: skip
def test_an_unexpected_error_gets_one_too(
    interface: str, environ: dict[str, str], words: str
) -> None:
    """Whatever the wrapper raises before it starts the servers."""
    with Service(interface, **environ).launch() as service:
        line = last_line(service)
    assert line.startswith("cannot start: ")
    assert words in line


def test_a_service_named_jaeger_agent_is_no_port(toy_path: Path) -> None:
    """Its link has the very name of a variable that the wrapper reads when it traces."""
    links = {"TRACING": "1", "JAEGER_AGENT_PORT": "tcp://10.0.0.1:5775"}
    model = {"MODEL_URI": str(toy_path), "SENTIMENT_WINDOW_OVERLAP": "8"}
    with Service(**links, **model).start() as service:
        assert 200 == service.health()


def test_distutils_is_there_for_other_uses() -> None:
    """The wrapper gets one function without the import; any other comes from the real module."""
    program = """
import sys
from seldon_node import preflight
preflight._defer_distutils()
from distutils.util import strtobool
assert strtobool("Yes") and not strtobool("off") and "setuptools" not in sys.modules
from distutils.util import convert_path
assert convert_path("a/b") == "a/b" and "setuptools" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
