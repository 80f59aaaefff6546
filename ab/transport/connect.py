"""The transport of an endpoint."""

from __future__ import annotations

from ab.endpoint import Endpoint
from ab.transport.reply import Transport


def connect(endpoint: Endpoint, timeout_s: float) -> Transport:
    """A transport for the endpoint; close it.

    Args:
        endpoint: REST or gRPC; only what it needs is imported.
        timeout_s: after which a call is given up.
    """
    if endpoint.grpc:
        from ab.transport.grpc import GrpcTransport

        return GrpcTransport(endpoint, timeout_s)
    from ab.transport.rest import RestTransport

    return RestTransport(endpoint, timeout_s)
