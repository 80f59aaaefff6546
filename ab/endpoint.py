"""Addresses of endpoints, in Seldon's protocol or the Open Inference Protocol (V2)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from ab.errors import EndpointError

_API = re.compile(r"/api/v[01]\.[01]/(predictions|feedback)/?$")
_V2 = re.compile(r"/v2/models(?:/(?!infer$)([^/]+))?(?:/versions/([^/]+))?(?:/infer)?/?$")
_GATEWAY = re.compile(r"^/seldon/([^/]+)/([^/]+)$")


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where predictions and feedback go.

    Attributes:
        url: as given, without user and password.
        grpc: gRPC, else REST.
        secure: TLS.
        host: with its port.
        prefix: path before /api or /v2, such as /seldon/NAMESPACE/DEPLOYMENT; empty on a bare
            server.
        model: that V2 asks for, empty where Seldon's executor names it; None: Seldon's protocol.
        version: of it; empty is the server's choice.
        headers: of every request, or metadata of every call.
    """

    url: str
    grpc: bool
    secure: bool
    host: str
    prefix: str
    model: str | None = None
    version: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def base(self) -> str:
        """REST address without /api or /v2."""
        return f"{'https' if self.secure else 'http'}://{self.host}{self.prefix}"

    @property
    def infer(self) -> str:
        """REST address of V2 requests."""
        parts = (self.model, self.version and f"versions/{self.version}", "infer")
        return "/".join((f"{self.base}/v2/models", *(part for part in parts if part)))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """gRPC metadata: by what an ingress finds the deployment, and the headers."""
        match = _GATEWAY.match(self.prefix)
        ours = (("seldon", match[2]), ("namespace", match[1])) if match else ()
        return (*ours, *((name.lower(), value) for name, value in self.headers))


def parse_endpoint(url: str, headers: Sequence[str] = ()) -> Endpoint:
    """Read http://, https://, grpc:// or grpcs://HOST:PORT[/seldon/NAMESPACE/DEPLOYMENT].

    Behind it /v2/models[/NAME[/versions/VERSION]] means the Open Inference Protocol.

    Args:
        url: to read.
        headers: NAME=VALUE, to send with every request.

    Raises:
        EndpointError: it is none of them.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise EndpointError(
            f"{url!r} is not an endpoint; http://HOST:PORT, https://, grpc:// or grpcs:// is "
            "needed, with /seldon/NAMESPACE/DEPLOYMENT behind a gateway and /v2/models/NAME for V2"
        )
    if parts.username or parts.query:
        raise EndpointError("an endpoint takes neither user, password nor query")
    v2 = _V2.search(parts.path)
    prefix = parts.path[: v2.start()] if v2 else _API.sub("", parts.path).rstrip("/")
    grpc = parts.scheme.startswith("grpc")
    if grpc and (parts.port is None or (prefix and not _GATEWAY.match(prefix))):
        raise EndpointError(
            f"{url!r}: a gRPC endpoint is grpc://HOST:PORT[/seldon/NAMESPACE/DEPLOYMENT]"
            "[/v2/models/NAME]"
        )
    return Endpoint(
        url=f"{parts.scheme}://{parts.netloc}{parts.path if v2 else prefix}",
        grpc=grpc,
        secure=parts.scheme in ("https", "grpcs"),
        host=parts.netloc,
        prefix=prefix,
        model=(v2[1] or "") if v2 else None,
        version=(v2[2] or "") if v2 else "",
        headers=_headers(v2[1] if v2 else None, headers),
    )


def _headers(model: str | None, given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The headers given, and the one by which Seldon Core 2 finds a model or an experiment."""
    found = {"seldon-model": ("Seldon-Model", model)} if model else {}
    for header in given:
        name, equals, value = (part.strip() for part in header.partition("="))
        if not name or not equals:
            raise EndpointError("--header is NAME=VALUE, such as Host=sentiment.example.org")
        found[name.lower()] = name, value
    return tuple(found.values())
