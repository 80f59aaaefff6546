"""How a call ended, over REST and gRPC: above all, whether the server may have executed it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ab.endpoint import parse_endpoint
from ab.errors import EndpointError
from ab.transport import connect
from ab.transport.reply import Outcome
from ab.transport.rest import retry_after
from ab.wire import build_request
from tests.service import Service, free_ports


@pytest.fixture
def scripted() -> Iterator[tuple[ThreadingHTTPServer, list[bytes]]]:
    """A server that sends the bytes it is given and closes."""
    replies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(replies[0])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, replies
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("reply", "outcome", "may_have_run"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", Outcome.ANSWERED, True),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", Outcome.CUT, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", Outcome.CUT, True),
        (b"", Outcome.CUT, True),
        (b"HTTP/1.1 429 Too Many\r\n\r\n", Outcome.REFUSED, False),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n", Outcome.REFUSED, False),
        (b'HTTP/1.1 503 Busy\r\n\r\n{"status":{"reason":"OVERLOADED"}}', Outcome.REFUSED, False),
        (b"HTTP/1.1 503 Gone\r\n\r\nupstream", Outcome.FAILED, True),
        (b"HTTP/1.1 500 Oops\r\n\r\n", Outcome.FAILED, True),
        (b"HTTP/1.1 504 Late\r\n\r\n", Outcome.FAILED, True),
        (b"HTTP/1.1 404 Nowhere\r\n\r\n", Outcome.REJECTED, False),
    ],
)
def test_rest_outcomes(
    scripted: tuple[ThreadingHTTPServer, list[bytes]],
    reply: bytes,
    outcome: Outcome,
    may_have_run: bool,
) -> None:
    """Feedback may be sent again only where nothing was executed."""
    server, replies = scripted
    replies.append(reply)
    transport = connect(parse_endpoint(f"http://127.0.0.1:{server.server_port}"), 10)
    found = transport.predict(build_request("a", "p"))
    transport.close()
    assert (outcome, may_have_run) == (found.outcome, found.may_have_run)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_no_connection_means_not_executed(scheme: str) -> None:
    """Nobody listens, so nobody has counted anything."""
    (port,) = free_ports(1)
    transport = connect(parse_endpoint(f"{scheme}://127.0.0.1:{port}"), 10)
    found = transport.feedback({"reward": 1.0})
    transport.close()
    assert (Outcome.UNREACHABLE, False) == (found.outcome, found.may_have_run)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_wrong_request_is_final(lexicon_service: Service, scheme: str) -> None:
    """REST and gRPC report the same mistake alike, with the node's own sentence."""
    port = lexicon_service.http if scheme == "http" else lexicon_service.grpc
    transport = connect(parse_endpoint(f"{scheme}://127.0.0.1:{port}"), 10)
    found = transport.predict({"data": {"ndarray": [[0, 2]]}})
    transport.close()
    assert (Outcome.REJECTED, True) == (found.outcome, found.is_final)
    assert "send the texts themselves" in found.detail


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(
    monkeypatch: pytest.MonkeyPatch, header: str | None, seconds: float | None
) -> None:
    """RFC 9110 allows both; the clock stands at 40 s."""
    monkeypatch.setattr("time.time", lambda: 40.0)
    assert seconds == retry_after(header)


def test_an_ingress_path_becomes_grpc_metadata() -> None:
    """Seldon's ingress routes gRPC by the metadata `seldon` and `namespace`."""
    endpoint = parse_endpoint("grpc://host:80/seldon/shop/sentiment")
    assert {"seldon": "sentiment", "namespace": "shop"} == dict(endpoint.metadata)
    rest = parse_endpoint("http://host/seldon/shop/sentiment/api/v1.0/predictions")
    assert "http://host/seldon/shop/sentiment" == rest.base


@pytest.mark.parametrize(
    "url", ["host:80", "ftp://host", "grpc://host", "grpc://host:1/x", "http://me:pw@host"]
)
def test_a_wrong_address_is_refused(url: str) -> None:
    """Before the first request, with the form that is needed."""
    with pytest.raises(EndpointError):
        parse_endpoint(url)
