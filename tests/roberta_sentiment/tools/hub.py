"""A hub on this machine: lists repositories and serves files as a Hugging Face hub does.

Large files are kept apart, as a hub keeps those of Git LFS: their address answers with a redirect,
and the ETag of the repository is not that of the store. The hub can be made to misbehave.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".onnx", ".safetensors", ".bin", ".data")
"""Endings of the files that are kept in the store."""
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclasses.dataclass(frozen=True)
class Request:
    """One request that came: its path without query, and its headers."""

    method: str
    path: str
    headers: Message


@dataclasses.dataclass
class Hub:
    """What it holds, how it behaves, and what it was asked.

    Attributes:
        url: its address.
        store: address of the store for large files, on another host.
        repositories: content by repository, then by path.
        plain: content by path, outside of any repository.
        licences: as the model cards state them.
        gated: repositories that only show their list to a caller without a token.
        cuts: bytes after which the answers for a path are cut, one answer each.
        corrupt: paths whose content is not what the list says.
        status: codes to answer for a path instead, one answer each.
        ranges: whether parts of files are served.
        zipped: paths that are sent compressed, without a length.
        endless: paths whose answer has no length and never ends.
        requests: in the order they came.
    """

    url: str = ""
    store: str = ""
    repositories: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    plain: dict[str, bytes] = dataclasses.field(default_factory=dict)
    licences: dict[str, str] = dataclasses.field(default_factory=dict)
    gated: set[str] = dataclasses.field(default_factory=set)
    cuts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    corrupt: set[str] = dataclasses.field(default_factory=set)
    status: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    ranges: bool = True
    zipped: set[str] = dataclasses.field(default_factory=set)
    endless: set[str] = dataclasses.field(default_factory=set)
    requests: list[Request] = dataclasses.field(default_factory=list)

    def commit(self, repository: str) -> str:
        """Name of a repository's present state; changes with its content."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.repositories[repository].items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()

    def asked(self, ending: str, method: str = "GET") -> list[Request]:
        """The requests for content whose path ends so; redirects are left out."""
        return [
            request
            for request in self.requests
            if request.path.endswith(ending)
            and request.method == method
            and not (ending.endswith(LARGE) and "/resolve/" in request.path)
        ]


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub on a free port."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.store = f"http://localhost:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(Request(self.command, path, self.headers))
        if self.hub.status.get(path):
            self._send(self.hub.status[path].pop(0))
        elif path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            self._resolve(path)
        elif path.startswith("/store/"):
            repository, _, file = path.removeprefix("/store/").partition("//")
            self._content(self.hub.repositories[repository][file], path)
        elif path in self.hub.plain:
            self._content(self.hub.plain[path], path)
        else:
            self._send(404)

    def _list(self, path: str) -> None:
        repository, _, revision = path.partition("/revision/")
        if repository not in self.hub.repositories:
            self._send(401, {"X-Error-Code": "RepoNotFound"})
        elif not self._is_known(repository, revision or "main"):
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            body = json.dumps(self._info(repository)).encode()
            self._send(200, {"Content-Type": "application/json"}, body)

    def _info(self, repository: str) -> dict[str, Any]:
        siblings = []
        for path, content in self.hub.repositories[repository].items():
            large = {"sha256": _sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(
                {"rfilename": path, "size": len(content), "blobId": _git_sha1(content)}
                | ({"lfs": large} if path.endswith(LARGE) else {})
            )
        licence = self.hub.licences.get(repository)
        return {
            "id": repository,
            "sha": self.hub.commit(repository),
            "private": False,
            "gated": "manual" if repository in self.hub.gated else False,
            "siblings": siblings,
            "cardData": {"license": licence} if licence else None,
        }

    def _resolve(self, path: str) -> None:
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if repository not in self.hub.repositories or not self._is_known(repository, revision):
            self._send(404, {"X-Error-Code": "RepoNotFound"})
            return
        if repository in self.hub.gated and "Authorization" not in self.headers:
            self._send(401, {"X-Error-Code": "GatedRepo"})
            return
        commit = {"X-Repo-Commit": self.hub.commit(repository)}
        content = self.hub.repositories[repository].get(file)
        if content is None:
            self._send(404, {"X-Error-Code": "EntryNotFound", **commit})
        elif file.endswith(LARGE):
            linked = {"X-Linked-Etag": f'"{_sha256(content)}"', "X-Linked-Size": str(len(content))}
            location = {"Location": f"{self.hub.store}/store/{repository}//{file}"}
            self._send(302, {**commit, **linked, **location})
        else:
            self._content(content, path, {**commit, "ETag": f'"{_git_sha1(content)}"'})

    def _is_known(self, repository: str, revision: str) -> bool:
        return revision in ("main", self.hub.commit(repository))

    def _content(self, content: bytes, path: str, headers: dict[str, str] | None = None) -> None:
        """Send a file or the part asked for, as wrong and as short as the hub was set to."""
        headers = {"ETag": f'"{_sha256(content)[:32]}"', **(headers or {})}
        if path in self.hub.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        if path in self.hub.endless:
            self._send_for_ever(headers)
            return
        if path in self.hub.zipped:
            zipped = gzip.compress(content)
            self._send(200, {**headers, "Content-Encoding": "gzip"}, zipped)
            return
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        same = self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
        if not (asked and same and self.hub.ranges):
            self._send(200, headers, content, path)
            return
        start, end = int(asked[1]), len(content)
        if start >= end:
            self._send(416, {**headers, "Content-Range": f"bytes */{end}"})
        else:
            part = {"Content-Range": f"bytes {start}-{end - 1}/{end}"}
            self._send(206, {**headers, **part}, content[start:], path)

    def _send_for_ever(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):  # until the caller has enough
            while True:
                self.wfile.write(bytes(2**16))

    def _send(
        self, code: int, headers: dict[str, str] | None = None, body: bytes = b"", path: str = ""
    ) -> None:
        cuts = self.hub.cuts.get(path, [])
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cuts and cuts[0] < len(body):
            self.wfile.write(body[: cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_sha1(content: bytes) -> str:
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
