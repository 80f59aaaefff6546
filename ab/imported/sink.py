"""The HTTP sink that can stand behind `logger.url` of a SeldonDeployment."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ab.errors import EndpointError
from ab.imported.log_events import LogEvent, cloud_event, of_entry

MAX_BYTES = 32 * 1024 * 1024
_TIMEOUT_S = 10.0


class Sink:
    """Takes CloudEvents by POST and holds them until they are taken.

    Args:
        address: HOST:PORT; port 0 is any free one.

    Raises:
        EndpointError: the address can't be listened on.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._lock, self._events = threading.Lock(), list[LogEvent | None]()
        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(self))
        except (OSError, ValueError, OverflowError) as error:
            raise EndpointError(
                f"can't listen on {address!r}: {error}; HOST:PORT is needed"
            ) from None
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def put(self, event: LogEvent | None) -> None:
        """Add an event."""
        with self._lock:
            self._events.append(event)

    def take(self, before: float) -> list[LogEvent | None]:
        """The events of all requests of which none came after `before`, s since 1970."""
        with self._lock:
            recent = {e.request for e in self._events if e and e.time >= before}
            taken = [e for e in self._events if e is None or e.request not in recent]
            self._events = [e for e in self._events if e and e.request in recent]
        return taken

    def close(self) -> None:
        """Refuse further events."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version, timeout = "HTTP/1.1", _TIMEOUT_S

        def do_POST(self) -> None:
            """Take an event, in binary or structured form."""
            size = self.headers.get("Content-Length", "")
            if not size.isdigit() or int(size) > MAX_BYTES:
                self.close_connection = True
                self._end(413 if size.isdigit() else 411)
                return
            body, headers = self.rfile.read(int(size)), dict(self.headers.items())
            try:
                if "cloudevents+json" in headers.get("Content-Type", ""):
                    events = of_entry(json.loads(body))
                else:
                    events = iter([cloud_event(headers, body)])
                for event in events:
                    sink.put(event)
            except ValueError:
                self._end(400)
            else:
                self._end(202)

        def do_GET(self) -> None:
            """Say that the sink is alive."""
            self._end(200)

        def log_message(self, *_: object) -> None:
            """Say nothing of each event."""

        def _end(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
