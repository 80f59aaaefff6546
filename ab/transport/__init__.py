"""Calls to an endpoint over REST or gRPC, and how they end."""

from ab.endpoint import Endpoint
from ab.transport.reply import Transport


def connect(endpoint: Endpoint, timeout_s: float) -> Transport:
    """A transport that gives up calls after this time; close it. Only what it needs is imported."""
    if endpoint.grpc:
        from ab.transport.grpc import GrpcTransport

        return GrpcTransport(endpoint, timeout_s)
    from ab.transport.rest import RestTransport

    return RestTransport(endpoint, timeout_s)
