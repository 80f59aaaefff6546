"""Manifests against Seldon's schema and against the rules of its webhook, operator and executor."""
