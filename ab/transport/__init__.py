"""Calls to an endpoint over REST or gRPC, and how they end."""
