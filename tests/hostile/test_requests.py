"""Requests that HTTP allows, or nearly allows: each ends in a 4xx that says why."""

from __future__ import annotations

import gzip
import re
from typing import Any

import grpc
import pytest
import requests
from seldon_core.proto import prediction_pb2

from tests.hostile.attacks import connect, posting
from tests.hostile.good_client import GoodClient
from tests.hostile.test_connections import read_all
from tests.service import Service

pytestmark = pytest.mark.long

LIMIT = 16 * 2**20
GOOD = b'{"strData":"good"}'
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked POST."""
    head = (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def padded(length: int) -> bytes:
    """A good message of so many bytes."""
    return GOOD + b" " * (length - len(GOOD))


def part(name: str, content: str) -> bytes:
    return (
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{content}\r\n--x--\r\n'
    ).encode()


RAW = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, "ready",
                 id="GET /"),
    pytest.param(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, "", id="HEAD /"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", 200, "ready", id="HTTP/1.0"),
    pytest.param(posting(b"", path="/", Connection="close"), 405, "POST is not", id="POST /"),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "there is no",
                 id="OPTIONS *"),
    pytest.param(b"BREW /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, "BREW",
                 id="unknown method"),
    pytest.param(b"GET /%00%0a%1b[31m HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404,
                 "\\\\x00\\\\x0a\\\\x1b[31m", id="control characters in the path"),
    pytest.param(b"GET /a//b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "/a//b",
                 id="two slashes"),
    pytest.param(b"nonsense\r\n\r\n", 400, "not valid HTTP", id="no HTTP"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not valid HTTP", id="HTTP/2"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000, 431, "65536 bytes",
                 id="header too large"),
    pytest.param(posting(GOOD, Transfer_Encoding="chunked"), 400, "exclude each other",
                 id="both lengths"),
    pytest.param(posting(GOOD, Content_length="18"), 400, "two headers content-length",
                 id="length twice"),
    pytest.param(posting(GOOD, host="b"), 400, "two headers host", id="host twice"),
    pytest.param(posting(GOOD, Transfer_Encoding="gzip").replace(b"Content-Length: 18\r\n", b""),
                 400, "not supported", id="unknown coding"),
    pytest.param(posting(GOOD).replace(b"18", b"-1"), 400, "Content-Length", id="negative length"),
    pytest.param(posting(GOOD).replace(b"18", b"9" * 5000), 400, "not valid HTTP",
                 id="long length"),
    pytest.param(posting(GOOD, length=LIMIT + 1), 413, "16777216 bytes", id="too long, announced"),
    pytest.param(posting(padded(LIMIT + 1)), 413, "setting max_body_bytes", id="too long, sent"),
    pytest.param(chunked(padded(LIMIT)), 200, "toy", id="chunked, as long as allowed"),
    pytest.param(chunked(padded(LIMIT + 1)), 413, "16777216 bytes", id="chunked, too long"),
    pytest.param(chunked(*[padded(2**20)] * 40), 413, "16777216 bytes", id="chunked, 40 MiB"),
    pytest.param(chunked(end=b"0x2f\r\n"), 400, "Invalid chunk size", id="chunk size 0x2f"),
    pytest.param(chunked(end=b"-1\r\n"), 400, "Invalid chunk size", id="chunk size -1"),
    pytest.param(chunked(end=b"2\r\nabc\r\n0\r\n\r\n"), 400, "not properly terminated",
                 id="chunk longer than it says"),
    pytest.param(chunked(end=b"a" * 5000), 400, "framing", id="chunk size without end"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "code", "words"), RAW)
def test_raw_requests(target: Service, content: bytes, code: int, words: str) -> None:
    """The status and a sentence come back, also to a client that is still sending."""
    with connect(target.http) as connection:
        connection.sendall(content)
        answer = read_all(connection)
    assert b" %d " % code in answer.partition(b"\r\n")[0], answer[:500]
    assert words.encode() in answer


def test_a_request_that_is_cut_off(target: Service) -> None:
    """A client that ends its half of the connection too early gets a sentence."""
    with connect(target.http) as connection:
        connection.sendall(chunked(end=b"ff\r\nabc"))
        connection.shutdown(1)
        assert b"ended before it was whole" in read_all(connection)


def test_a_body_is_asked_for(target: Service) -> None:
    """Expect: 100-continue, as curl sends with a large body."""
    head = posting(b"", length=len(GOOD), Expect="100-continue", Connection="close")
    with connect(target.http) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(GOOD)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_requests_in_a_row(target: Service) -> None:
    """Three at once on a connection are answered in their order."""
    content = posting(GOOD) + posting(b"[]") + posting(GOOD, Connection="close")
    with connect(target.http) as connection:
        connection.sendall(content)
        answer = read_all(connection)
    assert [b"200", b"400", b"200"] == re.findall(rb"HTTP/1.1 (\d+)", answer)


BODIES = [
    pytest.param("application/json", gzip.compress(GOOD), 415, "the Content-Encoding is gzip",
                 {"Content-Encoding": "gzip"}, id="gzip"),
    pytest.param("application/json", b'{"strData":"a","meta":{"tags":{"a":%b}}}' % (b"1" * 5000),
                 400, "too many digits", {}, id="5,000 digits"),
    pytest.param("application/json", b"[]," * (LIMIT // 3), 413, "bytes of memory", {},
                 id="many lists"),
    pytest.param("application/json", b"[" + b'{"a":1},' * (LIMIT // 9), 413, "bytes of memory", {},
                 id="many objects"),
    pytest.param(FORM, b"json=" + GOOD, 200, "toy", {}, id="form"),
    pytest.param(FORM, b'json={"strData":NaN}', 400, "NaN is not a JSON number", {}, id="form NaN"),
    pytest.param(FORM, b'json={"a":1e999}', 400, "too large", {}, id="form 1e999"),
    pytest.param(FORM, b"json=" + b"1" * 5000, 400, "too many digits", {}, id="form digits"),
    pytest.param(FORM, b"json=" + b"[" * 100_000, 400, "nested too deeply", {}, id="form nesting"),
    pytest.param(FORM, b"a&" * (LIMIT // 2), 400, "more than 16 fields", {}, id="form of many"),
    pytest.param(MULTIPART, part("strData", "good"), 200, "toy", {}, id="multipart"),
    pytest.param(MULTIPART, part("jsonData", "NaN"), 400, "NaN", {}, id="multipart NaN"),
    pytest.param(MULTIPART, part("other", "a"), 400, "no field other", {}, id="unknown part"),
    pytest.param(MULTIPART, part("a" * 10_000_000, "a"), 400, "header of a part", {},
                 id="long name"),
    pytest.param(MULTIPART, part("a", "a") * 1000, 400, "more than 22 parts", {}, id="many parts"),
    pytest.param("multipart/form-data", b"", 400, "no boundary", {}, id="no boundary"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "code", "words", "headers"), BODIES)
def test_bodies(
    target: Service, kind: str, body: bytes, code: int, words: str, headers: dict[str, str]
) -> None:
    """What is in a body ends in a 200 or in a 4xx with the reason."""
    answer = requests.post(
        target.url("/predict"), data=body, headers={"Content-Type": kind, **headers}, timeout=60
    )
    assert code == answer.status_code, answer.text
    assert words in answer.text
    if code != 200:
        assert len(answer.json()["status"]["info"]) <= 300


@pytest.mark.parametrize(
    "value",
    ["NaN", "1" * 5000, '{"a":1e999}', "[" * 5000],
    ids=["NaN", "digits", "1e999", "nesting"],
)
def test_queries(target: Service, value: str) -> None:
    """The query is read as strictly as a body."""
    answer = requests.get(target.url("/predict"), params={"json": value}, timeout=30)
    assert 400 == answer.status_code, answer.text
    assert "the field json can't be read" in answer.json()["status"]["info"]


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
def test_no_web_page_may_ask(target: Service, method: str) -> None:
    """Without the setting cors_origins no answer lets a page of another origin read it."""
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for port in (target.http, target.metrics):
        for path in ("/predict", "/health/status", "/metrics"):
            url = f"http://127.0.0.1:{port}{path}"
            answer = requests.request(method, url, headers=headers, timeout=30)
            assert answer.status_code < 500
            assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, id="no message"),
        pytest.param(b"\x2a\x02\xff\xfe", grpc.StatusCode.INVALID_ARGUMENT, id="no UTF-8"),
        pytest.param(b"", grpc.StatusCode.INVALID_ARGUMENT, id="empty message"),
    ],
)
@pytest.mark.parametrize("method", ["Seldon/Predict", "Model/Predict", "Seldon/SendFeedback"])
def test_raw_messages(target: Service, method: str, content: bytes, code: grpc.StatusCode) -> None:
    """The caller's fault is INVALID_ARGUMENT, with a sentence and no stack trace."""
    with grpc.insecure_channel(f"127.0.0.1:{target.grpc}") as channel:
        call: Any = channel.unary_unary(f"/seldon.protos.{method}", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            call(content, timeout=30)
    error: Any = caught.value
    assert code == error.code(), error
    assert "Traceback" not in error.details()
    assert len(error.details()) <= 300


def test_nesting_over_grpc(target: Service) -> None:
    """A value nested deeper than protobuf reads is the caller's fault."""
    value = b""
    for _ in range(300):
        inner = b"\x0a" + _varint(len(value)) + value
        value = b"\x32" + _varint(len(inner)) + inner
    message = b"\x32" + _varint(len(value)) + value
    with grpc.insecure_channel(f"127.0.0.1:{target.grpc}") as channel:
        call: Any = channel.unary_unary("/seldon.protos.Seldon/Predict", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            call(message, timeout=30)
    error: Any = caught.value
    assert grpc.StatusCode.INVALID_ARGUMENT == error.code()


def _varint(number: int) -> bytes:
    pieces = bytearray()
    while number > 0x7F:
        pieces.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*pieces, number])


def test_memory_under_many_large_bodies(target: Service, good: GoodClient) -> None:
    """48 bodies of 16 MB that do not end: what is more than the room is refused."""
    connections = [connect(target.http) for _ in range(48)]
    try:
        for connection in connections:
            connection.settimeout(1)
            try:
                connection.sendall(posting(b"a" * (LIMIT - 1), length=LIMIT))
            except OSError:
                continue
        good.wait_for_answers()
    finally:
        for connection in connections:
            connection.close()
    good.check()
    assert good.peak_mib < 700


def test_echoes_are_short(target: Service) -> None:
    """What a caller sent never comes back at length."""
    message = prediction_pb2.SeldonMessage()
    message.jsonData.struct_value["texts"] = "a"
    message.jsonData.struct_value.fields["options"].struct_value["b" * 100_000] = 1
    with pytest.raises(grpc.RpcError) as caught:
        target.predict(message)
    error: Any = caught.value
    assert grpc.StatusCode.INVALID_ARGUMENT == error.code()
    assert len(error.details()) <= 300
