"""Addresses of Seldon endpoints."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import urlsplit

from ab.errors import EndpointError

_API = re.compile(r"/api/v[01]\.[01]/(predictions|feedback)/?$")
_GATEWAY = re.compile(r"^/seldon/([^/]+)/([^/]+)$")


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where predictions and feedback go.

    Attributes:
        url: as given, without user and password.
        grpc: gRPC, else REST.
        secure: TLS.
        host: with its port.
        prefix: path before /api, such as /seldon/NAMESPACE/DEPLOYMENT; empty on a bare wrapper.
    """

    url: str
    grpc: bool
    secure: bool
    host: str
    prefix: str

    @property
    def base(self) -> str:
        """REST address without /api."""
        return f"{'https' if self.secure else 'http'}://{self.host}{self.prefix}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """gRPC metadata by which an ingress finds the deployment."""
        match = _GATEWAY.match(self.prefix)
        return (("seldon", match[2]), ("namespace", match[1])) if match else ()


def parse_endpoint(url: str) -> Endpoint:
    """Read http://, https://, grpc:// or grpcs://HOST:PORT[/seldon/NAMESPACE/DEPLOYMENT].

    Raises:
        EndpointError: it is none of them.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise EndpointError(
            f"{url!r} is no endpoint; http://HOST:PORT, https://, grpc:// or grpcs:// is needed, "
            "with /seldon/NAMESPACE/DEPLOYMENT behind a gateway"
        )
    if parts.username or parts.query:
        raise EndpointError("an endpoint takes neither user, password nor query")
    prefix = _API.sub("", parts.path).rstrip("/")
    grpc = parts.scheme.startswith("grpc")
    if grpc and (parts.port is None or (prefix and not _GATEWAY.match(prefix))):
        raise EndpointError(
            f"{url!r}: a gRPC endpoint is grpc://HOST:PORT[/seldon/NAMESPACE/DEPLOYMENT]"
        )
    secure = parts.scheme in ("https", "grpcs")
    return Endpoint(f"{parts.scheme}://{parts.netloc}{prefix}", grpc, secure, parts.netloc, prefix)
